"""Where an image is: a path that stays below a root, or a URI of an allowed kind."""

import functools
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from trainables.errors import DataError

SCHEMES = ("file", "http", "https", "s3", "gs", "memory")
"""Kinds of URI that are read; everything else is refused."""

LARGEST_BYTES = 512 << 20
"""Of a remote file, whether image or table."""

PIECE_BYTES = 1 << 20
"""What is read from the web at a time."""

_EXTRA = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


class Locations:
    """Turns what a table says into local files below `root` and remote URIs.

    Args:
        root: folder that relative paths start from, and that no path may leave, not even by symbolic links.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real_root = Path(os.path.realpath(root))
        if not self.real_root.is_dir():
            raise DataError(
                f"The image folder {root} does not exist.", "Name it with data.root.", "data.root"
            )
        self._inside: dict[str, bool] = {}

    def find(self, reference: str, place: str) -> Path | str:
        """The file or URI of `reference`, which stands at `place`.

        Raises:
            DataError: it is no path, leaves the root, or its kind of URI is not read.
        """
        if found := _URI.match(reference):
            scheme = found[1].lower()
            if scheme not in SCHEMES:
                raise DataError(
                    f"{place}: {reference!r} is of the kind {scheme}:, which is not read.",
                    f"Allowed: {', '.join(SCHEMES)}.",
                    "data.image",
                )
            if scheme != "file":
                return reference
            reference = unquote(urlsplit(reference).path)
        if "\0" in reference:
            raise DataError(
                f"{place}: {reference!r} is no path: it holds a zero byte.",
                "Is the file damaged, or saved in another encoding than UTF-8?",
                "data.image",
            )
        # normpath and not Path: it is quick, and takes ".." as written; links are judged afterwards.
        path = os.path.normpath(os.path.join(self.root, reference))  # noqa: PTH118
        if not self._is_inside(path):
            raise DataError(
                f"{place}: {reference!r} lies outside the image folder {self.root}.",
                "Name a folder with data.root that holds all images.",
                "data.root",
            )
        return Path(path)

    def _is_inside(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._inside:
            self._inside[folder] = self._below_root(os.path.realpath(folder))
        if not self._inside[folder] or not name:
            return False
        return not os.path.islink(path) or self._below_root(os.path.realpath(path))  # noqa: PTH114

    def _below_root(self, real: str) -> bool:
        return Path(real).is_relative_to(self.real_root)


def read_image(item: Path | str | None) -> bytes:
    """The bytes of a local file or of a URI; of None, an empty cell, there are none.

    Raises:
        OSError: why it cannot be read.
        DataError: the package that reads this kind of URI is not installed.
    """
    if item is None:
        raise OSError("the cell is empty")
    if isinstance(item, Path):
        return item.read_bytes()
    return read_uri(item)


def read_uri(uri: str) -> bytes:
    """The bytes of a remote file, through fsspec.

    Raises:
        OSError: why it cannot be read; one of more than `LARGEST_BYTES` is not.
        DataError: the package that reads this kind of URI is not installed.
    """
    scheme = uri.split(":", 1)[0].lower()
    system = _filesystem(scheme)
    content = bytearray()
    try:
        if scheme in ("http", "https"):
            # Servers need not honour a range. The size would cost another request, and need not be true.
            with system.open(uri, block_size=0, size=1) as stream:
                while len(content) <= LARGEST_BYTES and (piece := stream.read(PIECE_BYTES)):
                    content += piece
        else:
            content += system.cat_file(uri, start=0, end=LARGEST_BYTES + 1)
    except OSError:
        raise
    except Exception as error:
        # Each remote file system has its own exceptions, not all of them OSErrors.
        raise OSError(f"{type(error).__name__}: {error}") from error
    if len(content) > LARGEST_BYTES:
        raise OSError(f"it has more than {LARGEST_BYTES >> 20} MB")
    return bytes(content)


@functools.cache
def _filesystem(scheme: str) -> Any:
    import fsspec

    try:
        return fsspec.filesystem(scheme)
    except ImportError as error:
        raise DataError(
            f"URIs of the kind {scheme}: need a package that is not installed.",
            f"Run: pip install {_EXTRA.get(scheme, scheme)}",
            "data.image",
        ) from error
