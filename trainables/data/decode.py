"""Decode once: every image of a source into one array of the cache."""

import functools
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
"""Images that are in memory at a time, at most."""

CHUNK_BYTES = 64 << 20
"""Decoded bytes that are in memory at a time, unless one image has more."""

PIECE_BYTES = 1 << 20
"""Of these the bytes whose sums are taken at a time."""

NETWORK_THREADS = 16
"""Threads that read images from elsewhere."""

VERSION = "1"
"""Of the decoding; part of every key."""

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
        lasting: False if some could not be read for a reason that may have passed the next time.
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


@dataclass(frozen=True)
class _Failure:
    """Why an image cannot be read, and whether that may pass."""

    reason: str
    passing: bool


_Chunk = tuple[NDArray[np.int64], NDArray[np.uint8], dict[int, _Failure]]
"""Row numbers, their images, and the unreadable ones of these by row number."""


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
    chunks: Iterator[_Chunk]
    match images:
        case ArrayImages():
            chunks = _array_chunks(images, wanted)
        case EncodedImages():
            chunks = _decoded_chunks(images, wanted, folder / "fetched", cache)
    checks = np.zeros(len(images), dtype=np.uint64)
    sums = squares = np.zeros((0, 0), dtype=np.uint64)
    failed: dict[int, _Failure] = {}
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
                os.fsync(stream.fileno())
            np.save(folder / "checks.npy", checks)
            np.save(folder / "sums.npy", sums)
            np.save(folder / "squares.npy", squares)
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


def _chunk_rows(order: NDArray[np.int64], shape: tuple[int, int, int]) -> Iterator[NDArray[np.int64]]:
    """As many rows at a time as may be in memory."""
    step = max(1, min(CHUNK, CHUNK_BYTES // math.prod(shape)))
    for first in range(0, len(order), step):
        yield order[first : first + step]


def _array_chunks(images: ArrayImages, wanted: Wanted) -> Iterator[_Chunk]:
    from trainables.data.images import Transform, shape_array

    pixels = images.load()
    channels = wanted.channels or (1 if pixels.ndim == 3 else 3)
    transform = Transform(wanted.size, channels, wanted.max_pixels)
    height, width = wanted.size or pixels.shape[1:3]
    for rows in _chunk_rows(np.arange(len(images)), (channels, height, width)):
        yield rows, shape_array(pixels[images.rows[rows]], transform), {}


def _decoded_chunks(images: EncodedImages, wanted: Wanted, fetched: Path, cache: Cache) -> Iterator[_Chunk]:
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
        headers = _in_threads(header, [items[row] for row in order.tolist()], images.waits, ahead)
        size, channels = _settle(headers, wanted)
        failed = {row: h for row, h in zip(order.tolist(), headers, strict=True) if isinstance(h, _Failure)}
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
        failures: dict[int, _Failure] = {}
        results = _in_threads(decode, [items[row] for row in rows.tolist()], images.waits, ahead)
        for place, (row, result) in enumerate(zip(rows.tolist(), results, strict=True)):
            if isinstance(result, _Failure):
                failures[row] = result
            elif result.shape != shape:
                seen = f"{result.shape[1]} × {result.shape[2]}"
                failures[row] = _Failure(f"it is {seen} pixels, but its header says otherwise", False)
            else:
                pixels[place] = result
        del results  # as large as the pixels
        yield rows, pixels, failures
    if images.waits and read is not images.read:  # never a folder that was not made here
        shutil.rmtree(fetched, ignore_errors=True)


def _settle(headers: Sequence[Any], wanted: Wanted) -> tuple[tuple[int, int], int]:
    """Size and channels that the config leaves to the images, from their headers."""
    good = [header for header in headers if not isinstance(header, _Failure)]
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

    if isinstance(item, _Failure):  # of its reading
        return item
    try:
        return read_header(read(item), max_pixels)
    except (UnreadableImageError, OSError) as error:
        return _failure(error, waits)


def _decode(item: Any, read: Callable[[Any], bytes], transform: Any, waits: bool) -> Any:
    from trainables.data.images import UnreadableImageError, decode_image

    if isinstance(item, _Failure):  # of its reading, or its header
        return item
    try:
        return decode_image(read(item), transform)
    except (UnreadableImageError, OSError) as error:
        return _failure(error, waits)


def _content_ahead(item: Any, read: Callable[[Any], bytes], waits: bool) -> bytes | _Failure:
    if isinstance(item, _Failure):  # of its header
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


def _failure(error: Exception, waits: bool) -> _Failure:
    if not isinstance(error, OSError):
        return _Failure(str(error), waits)
    if isinstance(error, FileNotFoundError):
        return _Failure("no such file", waits)
    # Without a number it is not the system's, but says that there is nothing to read.
    passing = error.errno is not None and not isinstance(error, (IsADirectoryError, NotADirectoryError))
    return _Failure(error.strerror or str(error) or type(error).__name__, waits or passing)


def _in_threads(
    work: Callable[[Any], Result],
    items: Sequence[Any],
    waits: bool = False,
    ahead: Callable[[Any], Any] | None = None,
) -> list[Result]:
    """`work` on every item, in order. Pillow and the disk let other threads run meanwhile.

    With `ahead`, on what that makes of the item: in this thread, in order, and little earlier than it is needed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    threads = NETWORK_THREADS if waits else cores
    # What is worked on at a time lies close together, for the sake of containers.
    size = max(1, min(64, len(items)) // threads)
    batches = [items[first : first + size] for first in range(0, len(items), size)]
    parts = ([*map(ahead, batch)] if ahead else batch for batch in batches)
    if threads == 1 or len(batches) < 2:
        return [work(item) for part in parts for item in part]
    results: list[Result] = []
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            waiting.append(pool.submit(lambda part: [*map(work, part)], part))
            if len(waiting) > 2 * threads:
                results += waiting.popleft().result()
        for done in waiting:
            results += done.result()
    return results
