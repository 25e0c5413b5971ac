"""Decode once: every image of a source into one array of the cache."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cache import Cache, digest_of, save_array, stamp, writing
from trainables.data.chunks import Chunk, Failure, Wanted, array_chunks, decoded_chunks
from trainables.data.rows import ArrayImages, EncodedImages
from trainables.data.threads import in_threads
from trainables.errors import DataError

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""

PIECE_BYTES = 1 << 20
"""Decoded bytes whose sums are taken at a time."""

VERSION = "1"
"""Of the decoding; part of every key."""


@dataclass(frozen=True)
class DecodedImages:
    """A folder of decoded images.

    Attributes:
        directories: each with images.npy and the arrays below; several where sources are joined.
        shape: (N, C, H, W).
        checks: (N,) uint64 hash of each image's pixels; equal for equal pictures.
        sums: (N, C) uint64 sum of pixel values.
        squares: (N, C) uint64 sum of squared pixel values.
        unreadable: reason by row number; these images are black and belong in no split.
        lasting: False if some could not be read for a reason that may have passed the next time.
    """

    directories: tuple[Path, ...]
    shape: tuple[int, int, int, int]
    checks: NDArray[np.uint64]
    sums: NDArray[np.uint64]
    squares: NDArray[np.uint64]
    unreadable: dict[int, str]
    lasting: bool

    @property
    def size(self) -> int:
        """Bytes on disk, and of memory where all of them are in use."""
        return sum((directory / "images.npy").stat().st_size for directory in self.directories)


def pillow_version() -> str:
    """Another Pillow may read what this one cannot, and read other pixels."""
    return importlib.metadata.version("pillow")


def decode_all(
    cache: Cache, images: ArrayImages | EncodedImages, wanted: Wanted, progress: Progress | None = None
) -> DecodedImages:
    """The decoded images, from the cache or into it.

    Files whose sizes and times are known are not even read; files whose contents are known are not decoded.

    Raises:
        DataError: images of several sizes without `data.image_size`, none readable, or no space.
    """
    asked = json.dumps(
        [VERSION, pillow_version(), wanted.size, wanted.channels, wanted.max_pixels, images.selection]
    )
    stamped, trusted = stamp(images.files)
    source = digest_of("stat", asked, stamped, *(str(path) for path in images.files))
    known = cache.read_text(f"sources/{source}")
    if known is not None and (found := _load(cache.root / "images" / known)) is not None:
        return found
    key = digest_of("content", asked, _content(images.files))
    if (found := _load(cache.root / "images" / key)) is None:
        with cache.locked(f"images-{key}"):
            found = _load(cache.root / "images" / key)  # by the process that held the lock
            if found is None:
                folder = cache.add_folder(
                    f"images/{key}",
                    lambda folder: _fill(folder, cache, images, wanted, progress),
                    lambda folder: _load(folder) is not None,
                )
                found = _load(folder)
    if found is None:
        raise DataError(f"The cache {cache.root} does not keep what is written to it.", "", "data.cache")
    if trusted and found.lasting:
        cache.write_text(f"sources/{source}", key)
    return found


def _content(files: tuple[Path, ...]) -> str:
    return digest_of(*in_threads(_file_digest, files))


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError:
        return b"-"  # unreadable: said when it is decoded


def _load(folder: Path) -> DecodedImages | None:
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        shape = tuple(meta["shape"])
        if np.load(folder / "images.npy", mmap_mode="r").shape != shape:
            return None
        return DecodedImages(
            directories=(folder,),
            shape=shape,
            checks=np.load(folder / "checks.npy"),
            sums=np.load(folder / "sums.npy"),
            squares=np.load(folder / "squares.npy"),
            unreadable={int(row): reason for row, reason in meta["unreadable"].items()},
            lasting=meta["lasting"],
        )
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _fill(
    folder: Path, cache: Cache, images: ArrayImages | EncodedImages, wanted: Wanted, progress: Progress | None
) -> str:
    """Decode into `folder`, a chunk at a time; returns what its name ends with."""
    chunks: Iterator[Chunk]
    match images:
        case ArrayImages():
            chunks = array_chunks(images, wanted)
        case EncodedImages():
            chunks = decoded_chunks(images, wanted, folder / "fetched", cache)
    checks = np.zeros(len(images), dtype=np.uint64)
    sums = squares = np.zeros((0, 0), dtype=np.uint64)
    failed: dict[int, Failure] = {}
    shape = (0, 0, 0)
    done = start = 0
    stream = None
    try:
        for rows, pixels, failures in chunks:
            if stream is None:
                shape = pixels.shape[1:]
                sums, squares = (np.zeros((len(images), shape[0]), dtype=np.uint64) for _ in range(2))
                with writing(cache.root):
                    stream = _new_array(folder / "images.npy", (len(images), *shape))
                start = stream.tell()
            with writing(cache.root):
                _write(stream, start, rows, pixels)
            checks[rows] = _checks(pixels)
            sums[rows], squares[rows] = _sums(pixels)
            failed.update(failures)
            done += len(pixels)
            if progress is not None:
                progress(done, len(images))
        unreadable = {row: failed[row].reason for row in sorted(failed)}
        lasting = not any(failure.passing for failure in failed.values())
        with writing(cache.root):
            if stream is not None:
                stream.flush()
            for name, values in (("checks", checks), ("sums", sums), ("squares", squares)):
                save_array(folder / f"{name}.npy", values)
            meta = {"shape": [len(images), *shape], "unreadable": unreadable, "lasting": lasting}
            (folder / "meta.json").write_text(json.dumps(meta), "utf-8")
    finally:
        if stream is not None:
            with writing(cache.root):
                stream.close()
    # Under a name that nobody looks for, what could not be read for now is asked for again the next time.
    return "" if lasting else f"-{digest_of(checks.tobytes(), json.dumps(unreadable))[:8]}"


def _new_array(path: Path, shape: tuple[int, ...]) -> Any:
    """An open .npy file of this shape, its space reserved, positioned at the first value."""
    stream = path.open("wb")
    try:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        # Without space for all of it, fail before hours of decoding and not after.
        if hasattr(os, "posix_fallocate"):
            stream.flush()
            os.posix_fallocate(stream.fileno(), 0, stream.tell() + int(np.prod(shape)))
    except BaseException:
        stream.close()
        raise
    return stream


def _write(stream: Any, start: int, rows: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
    """Write each image to its row of the array that begins at `start`."""
    size = pixels[0].size
    if (np.diff(rows) == 1).all():
        rows, pixels = rows[:1], pixels[None]
    for row, part in zip(rows.tolist(), pixels, strict=True):
        stream.seek(start + row * size)
        stream.write(np.ascontiguousarray(part))


def _checks(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    hashes = b"".join(hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels)
    return np.frombuffer(hashes, dtype="<u8").astype(np.uint64)


def _sums(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Per image and channel the sum of values and of their squares; a little at a time, for they are wide."""
    sums, squares = (np.empty(pixels.shape[:2], dtype=np.uint64) for _ in range(2))
    step = max(1, PIECE_BYTES // pixels[0].size)
    for first in range(0, len(pixels), step):
        wide = pixels[first : first + step].astype(np.uint32)
        sums[first : first + step] = wide.sum(axis=(2, 3), dtype=np.uint64)
        squares[first : first + step] = (wide * wide).sum(axis=(2, 3), dtype=np.uint64)
    return sums, squares
