"""Prepared data: what every trial reads, written once by `prepare_data`, loaded with numpy alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cache import save_array
from trainables.data.joined import JoinedImages
from trainables.errors import DataError

SPLITS = ("train", "val", "test")
"""The names of the splits, in the order of their codes 0, 1, 2."""

FORMAT = 2
"""Version of what the cache holds. A change of it makes everything be prepared anew."""


@dataclass(frozen=True)
class TaskLabels:
    """The labels of one task for all N examples.

    Attributes:
        values: multiclass and binary: (N,) int64 class index, 0 where absent. multilabel: (N, K) uint8, one
            column per class, zeros where absent.
        present: (N,) False where the example has no label for this task.
    """

    values: NDArray[Any]
    present: NDArray[np.bool_]


@dataclass(frozen=True)
class PreparedData:
    """Decoded images, labels and splits of N examples (C channels, H × W pixels).

    Attributes:
        directory: where it is kept.
        digest: SHA-256 of ids, labels, splits and decoded pixels: equal for equal data, wherever it lies.
        images: (N, C, H, W), mapped copy-on-write: a stray write stays private to the process. Joined where there
            are several sources.
        labels: by task name.
        classes: class names by task name; binary: (negative, positive).
        splits: sorted row numbers by "train", "val" and "test". Images that could not be read are in none.
        mean: per channel, of the training images scaled to [0, 1].
        std: per channel, of the training images scaled to [0, 1].
        dropped: unreadable images per split (only with `data.unreadable: drop`).
        sources: which rows belong to which of `data.sources`; empty with a single `source`.
    """

    directory: Path
    digest: str
    images: NDArray[np.uint8] | JoinedImages
    labels: dict[str, TaskLabels]
    classes: dict[str, tuple[str, ...]]
    splits: dict[str, NDArray[np.int64]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dropped: dict[str, int] = field(default_factory=dict)
    sources: dict[str, range] = field(default_factory=dict)

    def ids(self) -> list[str]:
        """Names of the N examples: the path as the source writes it, or `<split>/<number>` of an array.

        Of several sources each begins with `<source>/`.
        """
        ids: list[str] = json.loads((self.directory / "ids.json").read_text("utf-8"))
        return ids


def load_prepared(directory: Path) -> PreparedData:
    """Load what `prepare_data` wrote, in milliseconds.

    Raises:
        DataError: it is not there any more, or not whole.
    """
    try:
        meta = json.loads((directory / "meta.json").read_text("utf-8"))
        if meta["format"] != FORMAT:
            raise ValueError(f"format {meta['format']}, expected {FORMAT}")
        parts = [np.load(directory / part / "images.npy", mmap_mode="c") for part in meta["images"]]
        labels = {
            task: TaskLabels(np.load(directory / f"values.{t}.npy"), np.load(directory / f"present.{t}.npy"))
            for t, task in enumerate(meta["classes"])
        }
        splits = {name: np.load(directory / f"split.{name}.npy") for name in SPLITS}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(
            f"The prepared data in {directory} cannot be loaded: {error}.",
            "Prepare it again by starting the same command once more.",
            "data.cache",
        ) from error
    return PreparedData(
        directory=directory,
        digest=meta["digest"],
        images=parts[0] if len(parts) == 1 else JoinedImages(parts),
        labels=labels,
        classes={task: tuple(names) for task, names in meta["classes"].items()},
        splits=splits,
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        dropped=meta["dropped"],
        sources={name: range(first, stop) for name, (first, stop) in meta["sources"].items()},
    )


def write_prepared(
    directory: Path,
    *,
    digest: str,
    images: Sequence[str],
    ids: list[str],
    labels: dict[str, TaskLabels],
    classes: dict[str, tuple[str, ...]],
    splits: dict[str, NDArray[np.int64]],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dropped: dict[str, int],
    sources: Mapping[str, range],
) -> None:
    """Write prepared data into `directory`, which exists and is empty.

    `images` are the folders of the decoded images, relative to where `directory` will finally be.
    """
    for t, task in enumerate(classes):
        save_array(directory / f"values.{t}.npy", labels[task].values)
        save_array(directory / f"present.{t}.npy", labels[task].present)
    for name in SPLITS:
        save_array(directory / f"split.{name}.npy", splits[name])
    (directory / "ids.json").write_text(json.dumps(ids), "utf-8")
    meta = {
        "format": FORMAT,
        "digest": digest,
        "images": list(images),
        "classes": classes,
        "mean": mean,
        "std": std,
        "dropped": dropped,
        "sources": {name: (rows.start, rows.stop) for name, rows in sources.items()},
    }
    (directory / "meta.json").write_text(json.dumps(meta), "utf-8")
