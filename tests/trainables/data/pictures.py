"""Small pictures and tables of them, written to disk as users would."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.config.data import DataConfig
from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask, TaskConfig

COLOR = {"color": MulticlassTask(label="color")}
ALL: dict[str, TaskConfig] = {
    "color": MulticlassTask(label="color"),
    "tags": MultilabelTask(label="tags"),
    "logo": BinaryTask(label="logo", positive="1"),
}


def pixels(height: int = 8, width: int = 8, *, seed: int = 0) -> NDArray[np.uint8]:
    """An RGB picture that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    """An RGB picture that lossy formats keep well: three soft ramps, different at every corner."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    ramps: NDArray[np.uint8] = np.stack([40 + 180 * y, 30 + 190 * x, 60 + 70 * (x + y)], -1).astype(np.uint8)
    return ramps


def save(folder: Path, names: Sequence[str], *, size: tuple[int, int] = (8, 8)) -> None:
    """A different picture under each name."""
    for seed, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(*size, seed=seed)).save(file)


def write_csv(file: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return file


def table(folder: Path, count: int = 60, **further: Sequence[Any]) -> Path:
    """`labels.csv` with pictures beside it and the columns path, color, tags and logo."""
    names = [f"images/{n:04d}.png" for n in range(count)]
    save(folder, names)
    columns: dict[str, Sequence[Any]] = {
        "path": names,
        "color": [("red", "green", "blue")[n % 3] for n in range(count)],
        "tags": [("cat|dog", "cat", "dog", "|")[n % 4] for n in range(count)],
        "logo": [("1", "0", "")[n % 3] for n in range(count)],
        **further,
    }
    return write_csv(folder / "labels.csv", columns)


def config(folder: Path, **changes: Any) -> DataConfig:
    """`labels.csv` of the folder, with the cache inside it."""
    return DataConfig.model_validate({"source": "labels.csv", "cache": str(folder / "cache"), **changes})
