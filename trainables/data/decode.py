"""Decode once: every image of a source into one array of the cache."""

import functools
import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.data.cache import Cache, digest_of, stamp, writing
from trainables.data.rows import ArrayImages, EncodedImages
from trainables.errors import DataError

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""

CHUNK = 512
"""Images that are in memory at a time."""

NETWORK_THREADS = 16
"""Threads that read images from elsewhere."""

VERSION = "1"
"""Of the decoding; part of every key."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class DecodedImages:
    """A folder of decoded images.

    Attributes:
        directory: images.npy and the arrays below.
        shape: (N, C, H, W).
        checks: (N,) uint64 hash of each image's pixels; equal for equal pictures.
        sums: (N, C) uint64 sum of pixel values.
        squares: (N, C) uint64 sum of squared pixel values.
        unreadable: reason by row number; these images are black and belong in no split.
        lasting: False if a network failed to deliver some, which it may do the next time.
    """

    directory: Path
    shape: tuple[int, int, int, int]
    checks: NDArray[np.uint64]
    sums: NDArray[np.uint64]
    squares: NDArray[np.uint64]
    unreadable: dict[int, str]
    lasting: bool


@dataclass(frozen=True)
class Wanted:
    """How images are to be: as `Transform`, where None is settled by what the images are."""

    size: tuple[int, int] | None
    channels: int | None
    max_pixels: int


def decode_all(
    cache: Cache, images: ArrayImages | EncodedImages, wanted: Wanted, progress: Progress | None = None
) -> DecodedImages:
    """The decoded images, from the cache or into it.

    Files whose sizes and times are known are not even read; files whose contents are known are not decoded.

    Raises:
        DataError: images of several sizes without `data.image_size`, none readable, or no space.
    """
    asked = json.dumps([VERSION, wanted.size, wanted.channels, wanted.max_pixels, images.selection])
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
                    f"images/{key}", lambda folder: _fill(folder, cache, images, wanted, progress)
                )
                found = _load(folder)
    if found is None:
        raise DataError(f"The cache {cache.root} does not keep what is written to it.", "", "data.cache")
    if trusted and found.lasting:
        cache.write_text(f"sources/{source}", key)
    return found


def _content(files: tuple[Path, ...]) -> str:
    return digest_of(*_in_threads(_file_digest, files))


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
            directory=folder,
            shape=shape,
            checks=np.load(folder / "checks.npy"),
            sums=np.load(folder / "sums.npy"),
            squares=np.load(folder / "squares.npy"),
            unreadable={int(row): reason for row, reason in meta["unreadable"].items()},
            lasting=meta["lasting"],
        )
    except (OSError, ValueError, KeyError):
        return None


def _fill(
    folder: Path, cache: Cache, images: ArrayImages | EncodedImages, wanted: Wanted, progress: Progress | None
) -> str:
    """Decode into `folder`, a chunk at a time; returns what its name ends with."""
    chunks: Iterator[tuple[NDArray[np.uint8], dict[int, str]]]
    match images:
        case ArrayImages():
            chunks = _array_chunks(images, wanted)
        case EncodedImages():
            chunks = _decoded_chunks(images, wanted)
    checks: list[NDArray[np.uint64]] = []
    sums: list[NDArray[np.uint64]] = []
    squares: list[NDArray[np.uint64]] = []
    unreadable: dict[int, str] = {}
    shape = (0, 0, 0)
    done = 0
    stream = None
    try:
        for pixels, failed in chunks:
            if stream is None:
                shape = pixels.shape[1:]
                with writing(cache.root):
                    stream = _new_array(folder / "images.npy", (len(images), *shape))
            with writing(cache.root):
                stream.write(np.ascontiguousarray(pixels))
            checks.append(_checks(pixels))
            wide = pixels.astype(np.uint32)
            sums.append(wide.sum(axis=(2, 3), dtype=np.uint64))
            squares.append((wide * wide).sum(axis=(2, 3), dtype=np.uint64))
            unreadable.update({done + row: reason for row, reason in failed.items()})
            done += len(pixels)
            if progress is not None:
                progress(done, len(images))
        with writing(cache.root):
            if stream is not None:
                stream.flush()
                os.fsync(stream.fileno())
            np.save(folder / "checks.npy", np.concatenate(checks))
            np.save(folder / "sums.npy", np.concatenate(sums))
            np.save(folder / "squares.npy", np.concatenate(squares))
            lasting = not (unreadable and isinstance(images, EncodedImages) and images.waits)
            meta = {"shape": [len(images), *shape], "unreadable": unreadable, "lasting": lasting}
            (folder / "meta.json").write_text(json.dumps(meta), "utf-8")
    finally:
        if stream is not None:
            with writing(cache.root):
                stream.close()
    # Under a name that nobody looks for, what a network did not deliver is asked for again the next time.
    return "" if lasting else f"-{uuid.uuid4().hex[:8]}"


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


def _checks(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    hashes = b"".join(hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels)
    return np.frombuffer(hashes, dtype="<u8").astype(np.uint64)


def _array_chunks(images: ArrayImages, wanted: Wanted) -> Iterator[tuple[NDArray[np.uint8], dict[int, str]]]:
    from trainables.data.images import Transform, shape_array

    pixels = images.load()
    channels = wanted.channels or (1 if pixels.ndim == 3 else 3)
    transform = Transform(wanted.size, channels, wanted.max_pixels)
    for first in range(0, len(images), CHUNK):
        yield shape_array(pixels[images.rows[first : first + CHUNK]], transform), {}


def _decoded_chunks(
    images: EncodedImages, wanted: Wanted
) -> Iterator[tuple[NDArray[np.uint8], dict[int, str]]]:
    from trainables.data.images import Transform, quiet_pillow

    with quiet_pillow():
        size, channels = wanted.size, wanted.channels
        if size is None or channels is None:
            size, channels = _settle(images, wanted)
        transform = Transform(size, channels, wanted.max_pixels)
        decode = functools.partial(_decode, read=images.read, transform=transform)
        for first in range(0, len(images), CHUNK):
            items = images.items[first : first + CHUNK]
            pixels = np.zeros((len(items), channels, *size), dtype=np.uint8)
            failed: dict[int, str] = {}
            for row, result in enumerate(_in_threads(decode, items, images.waits)):
                if isinstance(result, str):
                    failed[row] = result
                else:
                    pixels[row] = result
            yield pixels, failed


def _settle(images: EncodedImages, wanted: Wanted) -> tuple[tuple[int, int], int]:
    """Size and channels that the config leaves to the images, from their headers."""
    from trainables.data.images import Header

    headers = _in_threads(
        functools.partial(_header, read=images.read, max_pixels=wanted.max_pixels), images.items
    )
    good = [header for header in headers if isinstance(header, Header)]
    if not good:
        reasons = Counter(str(reason) for reason in headers).most_common(3)
        raise DataError(
            f"None of the {len(images)} images can be read: {'; '.join(reason for reason, _ in reasons)}.",
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


def _header(item: Any, read: Callable[[Any], bytes], max_pixels: int) -> Any:
    from trainables.data.images import UnreadableImageError, read_header

    try:
        return read_header(read(item), max_pixels)
    except (UnreadableImageError, OSError) as error:
        return _reason(error)


def _decode(item: Any, read: Callable[[Any], bytes], transform: Any) -> Any:
    from trainables.data.images import UnreadableImageError, decode_image

    try:
        return decode_image(read(item), transform)
    except (UnreadableImageError, OSError) as error:
        return _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _in_threads(work: Callable[[Item], Result], items: Sequence[Item], waits: bool = False) -> list[Result]:
    """`work` on every item, in order. Pillow and the disk let other threads run meanwhile."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    threads = NETWORK_THREADS if waits else cores
    size = max(1, min(32, len(items) // threads))
    batches = [items[first : first + size] for first in range(0, len(items), size)]
    if threads == 1 or len(batches) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        done = pool.map(lambda batch: [work(item) for item in batch], batches)
        return [result for batch in done for result in batch]
