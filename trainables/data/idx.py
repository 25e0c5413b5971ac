"""IDX files, the format of MNIST and its kin (Y. LeCun, "The MNIST database of handwritten digits")."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data.rows import ArrayImages, Rows
from trainables.errors import DataError

PARTS = (("train", 0), ("t10k", 2))
"""Prefixes of the files and the split (code of `SPLITS`) they hold."""

PIECE_BYTES = 1 << 20
"""What is read of a file at a time."""

ForSplits = Sequence[tuple[str, int]]


def read_idx_folder(folder: Path, name: str, parts: ForSplits = PARTS, transposed: bool = False) -> Rows:
    """The images of an IDX folder, plain or .gz, with the label column `label` and the official test split.

    Args:
        folder: with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of `t10k`.
        name: of the source, for messages.
        parts: prefixes of the file names and the split that each holds.
        transposed: the files hold columns where they should hold rows.

    Raises:
        DataError: a file is missing, damaged, or does not fit the others.
    """
    files, labels, split, ids = [], [], [], []
    for prefix, code in parts:
        images = _find(folder, prefix, "images", 3, name)
        found = read_idx(_find(folder, prefix, "labels", 1, name), ndim=1)
        files.append(images)
        labels.append(found.astype(np.int64))
        split.append(np.full(len(found), code, dtype=np.int8))
        ids += [f"{prefix}/{n}" for n in range(len(found))]
    column = np.concatenate(labels)
    counts = [len(part) for part in labels]

    def load() -> NDArray[np.uint8]:
        arrays = [read_idx(file, ndim=3) for file in files]
        for file, array, count in zip(files, arrays, counts, strict=True):
            if len(array) != count or array.shape[1:] != arrays[0].shape[1:]:
                raise DataError(
                    f"{file} holds {array.shape} bytes, which"
                    f" does not fit the {count} labels or the other files.",
                    "Get the files again.",
                    "data.source",
                )
        pixels = np.concatenate(arrays)
        return pixels.transpose(0, 2, 1) if transposed else pixels

    return Rows(
        name=name,
        ids=ids,
        images=ArrayImages(load, np.arange(len(column)), tuple(files), f"idx 1 {transposed}"),
        columns={"label": lambda: column},
        split=np.concatenate(split),
        watched=(*files, *(_find(folder, prefix, "labels", 1, name) for prefix, _ in parts)),
    )


def read_idx(file: Path, ndim: int) -> NDArray[np.uint8]:
    """The unsigned bytes of an IDX file with `ndim` axes.

    Raises:
        DataError: it is not such a file, or is truncated.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            header = stream.read(4 + 4 * ndim)
            if len(header) < 4 + 4 * ndim or header[:4] != bytes((0, 0, 8, ndim)):
                raise DataError(f"{file} is not an IDX file of {ndim}-dimensional bytes.", "", "data.source")
            shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
            promised = math.prod(shape)
            content = bytearray()
            # Not all at once: neither what is promised nor what is packed has to be true.
            while len(content) <= promised and (piece := stream.read(PIECE_BYTES)):
                content += piece
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}.", "Get it again.", "data.source") from error
    if len(content) != promised:
        has = f"has {len(content)}" if len(content) < promised else "has more"
        raise DataError(
            f"{file} says it holds {' × '.join(map(str, shape))} bytes, but {has}.",
            "Get it again.",
            "data.source",
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _find(folder: Path, prefix: str, what: str, ndim: int, name: str) -> Path:
    for dot in ("-", "."):  # both spellings are in use
        for suffix in ("", ".gz"):
            file = folder / f"{prefix}-{what}{dot}idx{ndim}-ubyte{suffix}"
            if file.is_file():
                return file
    raise DataError(
        f"{name}: there is no {prefix}-{what}-idx{ndim}-ubyte (or .gz) in {folder}.",
        "Put the files there.",
        "data.source",
    )
