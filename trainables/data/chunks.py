"""Decoded images of a source, a chunk at a time."""

import functools
import math
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cache import Cache, digest_of, writing
from trainables.data.rows import ArrayImages, EncodedImages
from trainables.data.threads import in_threads
from trainables.errors import DataError

CHUNK = 512
"""Images that are in memory at a time, at most."""

CHUNK_BYTES = 64 << 20
"""Decoded bytes that are in memory at a time, unless one image has more."""


@dataclass(frozen=True)
class Wanted:
    """How images are to be: as `Transform`, where None is settled by what the images are."""

    size: tuple[int, int] | None
    channels: int | None
    max_pixels: int


@dataclass(frozen=True)
class Failure:
    """Why an image cannot be read, and whether that may pass."""

    reason: str
    passing: bool


Chunk = tuple[NDArray[np.int64], NDArray[np.uint8], dict[int, Failure]]
"""Row numbers, their images, and the unreadable ones of these by row number."""


def _chunk_rows(order: NDArray[np.int64], shape: tuple[int, int, int]) -> Iterator[NDArray[np.int64]]:
    """As many rows at a time as may be in memory."""
    step = max(1, min(CHUNK, CHUNK_BYTES // math.prod(shape)))
    for first in range(0, len(order), step):
        yield order[first : first + step]


def array_chunks(images: ArrayImages, wanted: Wanted) -> Iterator[Chunk]:
    """Images that lie in an array already, brought to size and channels."""
    from trainables.data.images import Transform, shape_array

    pixels = images.load()
    channels = wanted.channels or (1 if pixels.ndim == 3 else 3)
    transform = Transform(wanted.size, channels, wanted.max_pixels)
    height, width = wanted.size or pixels.shape[1:3]
    for rows in _chunk_rows(np.arange(len(images)), (channels, height, width)):
        yield rows, shape_array(pixels[images.rows[rows]], transform), {}


def decoded_chunks(images: EncodedImages, wanted: Wanted, fetched: Path, cache: Cache) -> Iterator[Chunk]:
    """Decode the images. `fetched`: a new folder for what comes from elsewhere and is needed twice.

    Raises:
        DataError: none can be read, or their sizes differ and none was asked for.
    """
    from trainables.data.images import Transform, silence_pillow

    items: Sequence[Any] = images.items
    order = np.arange(len(items))
    size, channels, read = wanted.size, wanted.channels, images.read
    ahead: Callable[[Any], Any] | None = None
    if all(isinstance(item, int) for item in items):
        # A container is read from its beginning to its end, whatever the order of the rows, and by this thread alone:
        # one that lags behind the others would read again what they have left.
        order = np.argsort(np.array(items, dtype=np.int64), kind="stable")
        ahead, read = functools.partial(_content_ahead, read=images.read, waits=images.waits), _as_read
    silence_pillow()
    if size is None or channels is None:
        if images.waits:
            with writing(cache.root):
                fetched.mkdir()
            read = functools.partial(_fetch, read=read, folder=fetched, root=cache.root)
        header = functools.partial(_header, read=read, max_pixels=wanted.max_pixels, waits=images.waits)
        headers = in_threads(header, [items[row] for row in order.tolist()], images.waits, ahead)
        size, channels = _settle(headers, wanted)
        failed = {row: h for row, h in zip(order.tolist(), headers, strict=True) if isinstance(h, Failure)}
        items = [failed.get(row, item) for row, item in enumerate(items)]
    shape = (channels, *size)
    decode = functools.partial(
        _decode,
        read=read,
        transform=Transform(wanted.size, channels, wanted.max_pixels),
        waits=images.waits,
    )
    for rows in _chunk_rows(order, shape):
        pixels = np.zeros((len(rows), *shape), dtype=np.uint8)
        failures: dict[int, Failure] = {}
        results = in_threads(decode, [items[row] for row in rows.tolist()], images.waits, ahead)
        for place, (row, result) in enumerate(zip(rows.tolist(), results, strict=True)):
            if isinstance(result, Failure):
                failures[row] = result
            elif result.shape != shape:
                seen = f"{result.shape[1]} × {result.shape[2]}"
                failures[row] = Failure(f"it is {seen} pixels, but its header says otherwise", False)
            else:
                pixels[place] = result
        del results  # as large as the pixels
        yield rows, pixels, failures
    if images.waits and read is not images.read:  # never a folder that was not made here
        shutil.rmtree(fetched, ignore_errors=True)


def _settle(headers: Sequence[Any], wanted: Wanted) -> tuple[tuple[int, int], int]:
    """Size and channels that the config leaves to the images, from their headers."""
    good = [header for header in headers if not isinstance(header, Failure)]
    if not good:
        reasons = Counter(failure.reason for failure in headers).most_common(3)
        raise DataError(
            f"None of the {len(headers)} images can be read: {'; '.join(reason for reason, _ in reasons)}.",
            "Check data.image and data.root.",
            "data.image",
        )
    sizes = Counter(header.size for header in good)
    if wanted.size is None and len(sizes) > 1:
        shown = ", ".join(f"{h} × {w} ({count} images)" for (h, w), count in sizes.most_common(3))
        more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
        raise DataError(
            f"The images have {len(sizes)} sizes (height × width): {shown}{more}.",
            "Say with data.image_size to which size they are brought, e.g. image_size: 64.",
            "data.image_size",
        )
    channels = wanted.channels or (1 if all(header.grey for header in good) else 3)
    return wanted.size or next(iter(sizes)), channels


def _header(item: Any, read: Callable[[Any], bytes], max_pixels: int, waits: bool) -> Any:
    from trainables.data.images import UnreadableImageError, read_header

    if isinstance(item, Failure):  # of its reading
        return item
    try:
        return read_header(read(item), max_pixels)
    except (UnreadableImageError, OSError) as error:
        return _failure(error, waits)


def _decode(item: Any, read: Callable[[Any], bytes], transform: Any, waits: bool) -> Any:
    from trainables.data.images import UnreadableImageError, decode_image

    if isinstance(item, Failure):  # of its reading, or its header
        return item
    try:
        return decode_image(read(item), transform)
    except (UnreadableImageError, OSError) as error:
        return _failure(error, waits)


def _content_ahead(item: Any, read: Callable[[Any], bytes], waits: bool) -> bytes | Failure:
    if isinstance(item, Failure):  # of its header
        return item
    try:
        return read(item)
    except OSError as error:
        return _failure(error, waits)


def _as_read(content: bytes) -> bytes:
    return content


def _fetch(item: Any, read: Callable[[Any], bytes], folder: Path, root: Path) -> bytes:
    """Read a URI once, although it is asked for twice: the second time from `folder`."""
    if not isinstance(item, str):
        return read(item)
    file = folder / digest_of(item)
    if file.is_file():
        return file.read_bytes()
    content = read(item)
    with writing(root):
        beside = file.with_suffix(f".{uuid.uuid4().hex[:8]}")  # other rows may show the same image
        beside.write_bytes(content)
        beside.replace(file)
    return content


def _failure(error: Exception, waits: bool) -> Failure:
    if not isinstance(error, OSError):
        return Failure(str(error), waits)
    if isinstance(error, FileNotFoundError):
        return Failure("no such file", waits)
    # Without a number it is not the system's, but says that there is nothing to read.
    passing = error.errno is not None and not isinstance(error, (IsADirectoryError, NotADirectoryError))
    return Failure(error.strerror or str(error) or type(error).__name__, waits or passing)
