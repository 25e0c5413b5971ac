"""Datasets that torchvision keeps as arrays."""

import csv
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.idx import read_idx_folder
from trainables.data.rows import ArrayImages, Rows
from trainables.errors import DataError

TRAIN, VAL, TEST = range(3)


def read_mnist(root: Path, name: str) -> Rows:
    """MNIST, FashionMNIST, KMNIST: column `label`."""
    return read_idx_folder(_folder(root, f"{name}/raw", name), f"torchvision:{name}")


def read_emnist(root: Path, name: str) -> Rows:
    """EMNIST, balanced unless the name says otherwise: column `label`. Its images lie on their side."""
    kind = name.partition("-")[2] or "balanced"
    parts = ((f"emnist-{kind}-train", TRAIN), (f"emnist-{kind}-test", TEST))
    return read_idx_folder(_folder(root, "EMNIST/raw", name), f"torchvision:{name}", parts, transposed=True)


def read_cifar10(root: Path, name: str) -> Rows:
    """CIFAR-10: column `label`, class names from its `batches.meta`."""
    folder = _folder(root, "cifar-10-batches-py", name)
    names = _unpickle(folder / "batches.meta", name)["label_names"]
    parts = [(folder / f"data_batch_{n}", TRAIN) for n in range(1, 6)] + [(folder / "test_batch", TEST)]
    return _read_cifar(name, parts, folder / "batches.meta", {"label": ("labels", names)})


def read_cifar100(root: Path, name: str) -> Rows:
    """CIFAR-100: columns `fine` (100 classes) and `coarse` (20), class names from its `meta`."""
    folder = _folder(root, "cifar-100-python", name)
    meta = _unpickle(folder / "meta", name)
    columns = {
        "fine": ("fine_labels", meta["fine_label_names"]),
        "coarse": ("coarse_labels", meta["coarse_label_names"]),
    }
    return _read_cifar(name, [(folder / "train", TRAIN), (folder / "test", TEST)], folder / "meta", columns)


def read_svhn(root: Path, name: str) -> Rows:
    """SVHN, cropped digits, without the extra part: column `label`. The files write 0 as 10."""
    from scipy.io import loadmat  # takes a third of a second

    parts = [(root / "train_32x32.mat", TRAIN), (root / "test_32x32.mat", TEST)]
    for file, _ in parts:
        require(file, name)

    def load() -> NDArray[np.uint8]:
        return np.concatenate([loadmat(file)["X"].transpose(3, 0, 1, 2) for file, _ in parts])

    labels = [loadmat(file, variable_names=["y"])["y"].ravel().astype(np.int64) % 10 for file, _ in parts]
    return _arrays(name, parts, [len(part) for part in labels], load, {"label": np.concatenate(labels)})


def read_stl10(root: Path, name: str) -> Rows:
    """STL-10, the labelled part: column `label`, class names from its `class_names.txt`."""
    folder = _folder(root, "stl10_binary", name)
    parts = [(folder / "train_X.bin", TRAIN), (folder / "test_X.bin", TEST)]
    names = require(folder / "class_names.txt", name).read_text("utf-8").split()
    labels = [np.fromfile(require(folder / f"{part}_y.bin", name), np.uint8) for part in ("train", "test")]

    def load() -> NDArray[np.uint8]:
        # Stored column by column: (N, 3, width, height).
        arrays = [np.fromfile(require(file, name), np.uint8).reshape(-1, 3, 96, 96) for file, _ in parts]
        return np.concatenate(arrays).transpose(0, 3, 2, 1)

    column = [names[label - 1] for part in labels for label in part.tolist()]
    extra = [folder / f"{part}_y.bin" for part in ("train", "test")]
    return _arrays(name, parts, [len(part) for part in labels], load, {"label": column}, extra)


def read_fer2013(root: Path, name: str) -> Rows:
    """FER2013 in its full form, `fer2013.csv` or `icml_face_data.csv`: column `emotion`."""
    folder = _folder(root, "fer2013", name)
    file = folder / "icml_face_data.csv"
    if not file.is_file():
        file = require(folder / "fer2013.csv", name)
    with file.open(newline="", encoding="utf-8") as stream:
        table = [{key.strip(): cell for key, cell in row.items()} for row in csv.DictReader(stream)]
    usage = {"Training": TRAIN, "PublicTest": VAL, "PrivateTest": TEST}

    def load() -> NDArray[np.uint8]:
        return np.array([row["pixels"].split() for row in table], dtype=np.uint8).reshape(-1, 48, 48)

    return Rows(
        name=f"torchvision:{name}",
        ids=[str(n) for n in range(len(table))],
        images=ArrayImages(load, np.arange(len(table)), (file,), "fer2013 1"),
        columns={"emotion": lambda: [row["emotion"] for row in table]},
        split=np.array([usage[row["Usage"]] for row in table], dtype=np.int8),
        watched=(file,),
    )


def require(file: Path, name: str) -> Path:
    """The file, if it is there.

    Raises:
        DataError: it is not; says how to get it.
    """
    if file.exists():
        return file
    plain = name.partition("-")[0]
    raise DataError(
        f"torchvision:{name}: there is no {file}.",
        f"data.root must be the folder that torchvision.datasets.{plain} downloads into (its `root`).",
        "data.root",
    )


def _folder(root: Path, below: str, name: str) -> Path:
    return require(root / below, name)


def _read_cifar(
    name: str,
    parts: Sequence[tuple[Path, int]],
    meta: Path,
    columns: Mapping[str, tuple[str, Sequence[str]]],
) -> Rows:
    batches = [_unpickle(file, name) for file, _ in parts]

    def load() -> NDArray[np.uint8]:
        pixels = np.concatenate([np.asarray(batch["data"], dtype=np.uint8) for batch in batches])
        return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    cells = {
        column: [names[label] for batch in batches for label in batch[key]]
        for column, (key, names) in columns.items()
    }
    return _arrays(name, parts, [len(batch["data"]) for batch in batches], load, cells, [meta])


def _arrays(
    name: str,
    parts: Sequence[tuple[Path, int]],
    counts: Sequence[int],
    load: Callable[[], NDArray[np.uint8]],
    columns: Mapping[str, Any],
    further: Sequence[Path] = (),
) -> Rows:
    files = tuple(file for file, _ in parts)
    return Rows(
        name=f"torchvision:{name}",
        ids=[f"{file.stem}/{n}" for file, count in zip(files, counts, strict=True) for n in range(count)],
        images=ArrayImages(load, np.arange(sum(counts)), files, f"{name} 1"),
        columns={column: lambda cells=cells: cells for column, cells in columns.items()},  # type: ignore[misc]
        split=np.repeat(np.array([code for _, code in parts], dtype=np.int8), counts),
        watched=(*files, *further),
    )


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays and plain values, and refuses whatever could run code."""

    ALLOWED = frozenset(
        (module, name)
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs")
        for name in ("ndarray", "dtype", "_reconstruct", "scalar", "encode")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.ALLOWED:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _unpickle(file: Path, name: str) -> dict[str, Any]:
    try:
        content = require(file, name).read_bytes()
        found: dict[str, Any] = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, OSError) as error:
        raise DataError(
            f"torchvision:{name}: {file} is damaged or not what it should be: {error}.",
            "Get the dataset again.",
            "data.root",
        ) from error
    return found
