"""Multi-Fashion as published: two Fashion-MNIST items on one canvas, one at the top left, one at the bottom right.

As in the papers' Multi-MNIST (Sener & Koltun, NeurIPS 2018): items at (0, 0) and (6, 6) of a 34×34 canvas,
the greater pixel wins, resized to 28×28. 120,000 training, 20,000 validation and 20,000 test images are
composed of disjoint items: 50,000 and 10,000 of Fashion-MNIST's training files, and its 10,000 test items.
"""

import gzip
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.data.prepared import PreparedData, TaskLabels

FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the IDX files."""
TRAIN_ITEMS = 50_000
COMPOSED = {"train": 120_000, "val": 20_000, "test": 20_000}
CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file, gzipped or not."""
    candidates = [path, path.with_name(path.name + ".gz")]
    found = next((p for p in candidates if p.exists()), None)
    if found is None:
        raise SystemExit(f"there is no {path} or {path.name}.gz")
    raw = gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
    shape = [int.from_bytes(raw[4 + 4 * d : 8 + 4 * d], "big") for d in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def compose(
    items: NDArray[np.uint8], labels: NDArray[np.uint8], count: int, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` images (count, 1, 28, 28) of two different items each, and the items' labels (count, 2)."""
    pairs = np.stack([generator.integers(0, len(items), count), generator.integers(1, len(items), count)])
    pairs[1] = (pairs[0] + pairs[1]) % len(items)
    canvas = np.zeros((count, 34, 34), np.uint8)
    canvas[:, :28, :28] = items[pairs[0]]
    canvas[:, 6:, 6:] = np.maximum(canvas[:, 6:, 6:], items[pairs[1]])
    small = [np.asarray(Image.fromarray(one).resize((28, 28), Image.Resampling.BILINEAR)) for one in canvas]
    return np.stack(small)[:, None], labels[pairs.T].astype(np.int64)


def fashion_pairs(folder: Path = FOLDER, seed: int = 0) -> PreparedData:
    """All three splits, ready to be trained on; `digest` is the SHA-256 of images and labels."""
    items = read_idx(folder / "train-images-idx3-ubyte"), read_idx(folder / "train-labels-idx1-ubyte")
    last = read_idx(folder / "t10k-images-idx3-ubyte"), read_idx(folder / "t10k-labels-idx1-ubyte")
    pools = {
        "train": (items[0][:TRAIN_ITEMS], items[1][:TRAIN_ITEMS]),
        "val": (items[0][TRAIN_ITEMS:], items[1][TRAIN_ITEMS:]),
        "test": last,
    }
    generator = np.random.default_rng(seed)
    made = {split: compose(*pools[split], COMPOSED[split], generator) for split in COMPOSED}
    images = np.concatenate([made[split][0] for split in COMPOSED])
    labels = np.concatenate([made[split][1] for split in COMPOSED])
    ends = np.cumsum([0, *COMPOSED.values()])
    train = images[: ends[1]].astype(np.float32) / 255
    present = np.ones(len(images), dtype=bool)
    return PreparedData(
        directory=folder,
        digest=hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(),
        images=images,
        labels={task: TaskLabels(labels[:, at].copy(), present) for at, task in enumerate(("left", "right"))},
        classes=dict.fromkeys(("left", "right"), CLASSES),
        splits={split: np.arange(ends[at], ends[at + 1]) for at, split in enumerate(COMPOSED)},
        mean=(float(train.mean()),),
        std=(float(train.std()),),
    )
