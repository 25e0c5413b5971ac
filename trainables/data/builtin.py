"""`builtin:digits-pair`: a small two-task dataset made from scikit-learn's bundled handwritten digits.

Two digits (8×8, values 0 to 16) lie on a 12×12 canvas, one at the top left, one at the bottom right, and
where they overlap the brighter pixel shows. The tasks, columns `left` and `right`, have ten classes each and
compete for a narrow shared layer.
"""

import gzip
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data.rows import ArrayImages, Rows
from trainables.errors import DataError

POOLS = (1100, 200, 497)
"""Digits from which the images of each split are composed: no digit is in two splits."""

SIZES = (12_000, 2_000, 4_000)
"""Images per split: train, val, test."""

SHA256 = "43b282f06bb9ff97ca93ee2d7d7111875d5e809a29252aadfc20e2d4949ce691"
"""Of the images, the left and the right labels, one after the other."""


def read_builtin(name: str) -> Rows:
    """The embedded dataset of this name.

    Raises:
        DataError: there is none of this name, or its digits are not installed or not the expected ones.
    """
    if name != "digits-pair":
        raise DataError(f"There is no builtin dataset {name!r}.", "Write builtin:digits-pair.", "data.source")
    file = _digits_file()
    images, left, right = compose(file)
    split = np.repeat(np.arange(3, dtype=np.int8), SIZES)
    ids = [
        f"{name}/{n}" for name, size in zip(("train", "val", "test"), SIZES, strict=True) for n in range(size)
    ]
    return Rows(
        name="builtin:digits-pair",
        ids=ids,
        images=ArrayImages(lambda: images, np.arange(len(ids)), (file,), "digits-pair 1"),
        columns={"left": lambda: left, "right": lambda: right},
        split=split,
        watched=(file,),
    )


def compose(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (18000, 12, 12) and the labels left and right (18000,) from the digits of `file`."""
    with gzip.open(file) as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.uint8)
    digits = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[:, 64]
    generator = np.random.default_rng(0)
    pools = np.split(generator.permutation(len(digits)), np.cumsum(POOLS)[:-1])
    pairs = [
        pool[generator.integers(len(pool), size=(size, 2))] for pool, size in zip(pools, SIZES, strict=True)
    ]
    left, right = np.concatenate(pairs).T
    images = np.zeros((len(left), 12, 12), dtype=np.uint8)
    images[:, :8, :8] = digits[left]
    np.maximum(images[:, 4:, 4:], digits[right], out=images[:, 4:, 4:])
    found = hashlib.sha256(images.tobytes() + labels[left].tobytes() + labels[right].tobytes()).hexdigest()
    if found != SHA256:
        raise DataError(
            f"The digits in {file} are not the ones this version was made with (SHA-256 {found}).",
            "Install scikit-learn again.",
            "data.source",
        )
    return images, labels[left], labels[right]


def _digits_file() -> Path:
    # Found without importing scikit-learn, which would cost a second.
    package = importlib.util.find_spec("sklearn")
    for location in (package.submodule_search_locations or []) if package else []:
        file = Path(location) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return file
    raise DataError(
        "The handwritten digits are not installed.", "Run: pip install scikit-learn", "data.source"
    )
