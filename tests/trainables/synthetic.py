"""Small prepared data sets made of numpy arrays, with everything a test may ask for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trainables.config.trial import TrialConfig
from trainables.data.joined import JoinedImages
from trainables.data.prepared import PreparedData, TaskLabels

TASKS: dict[str, Any] = {
    "shape": {"type": "multiclass", "label": "shape"},
    "bright": {"type": "binary", "label": "bright"},
    "marks": {"type": "multilabel", "label": "marks", "metric": "accuracy"},
}


def prepared(
    *,
    train: int = 90,
    val: int = 40,
    channels: int = 1,
    side: int = 12,
    labelled: float = 1.0,
    seed: int = 0,
    tasks: tuple[str, ...] = tuple(TASKS),
) -> PreparedData:
    """Images whose labels can be learned; a share `labelled` of the labels of each task is present."""
    generator = np.random.default_rng(seed)
    count = train + val
    shape = generator.integers(0, 3, count)
    marks = generator.integers(0, 2, (count, 4)).astype(np.uint8)
    images = generator.integers(0, 60, (count, channels, side, side)).astype(np.uint8)
    for row in range(count):
        images[row, :, 4 * shape[row] % side : 4 * shape[row] % side + 3, :] += 120
        images[row, :, :, marks[row].nonzero()[0] * 3] += 60
    bright = (images.mean((1, 2, 3)) > np.median(images.mean((1, 2, 3)))).astype(np.int64)
    values: dict[str, Any] = {"shape": shape.astype(np.int64), "bright": bright, "marks": marks}
    labels = {}
    for task in TASKS:
        present = generator.random(count) < labelled
        own = values[task].copy()
        own[~present] = 0
        labels[task] = TaskLabels(own, present)
    classes = {"shape": ("a", "b", "c"), "bright": ("no", "yes"), "marks": ("p", "q", "r", "s")}
    pixels = images[:train].astype(np.float64).transpose(1, 0, 2, 3).reshape(channels, -1) / 255
    return PreparedData(
        directory=Path(),
        digest="synthetic",
        images=images,
        labels={task: labels[task] for task in tasks},
        classes={task: classes[task] for task in tasks},
        splits={"train": np.arange(train), "val": np.arange(train, count), "test": np.arange(0)},
        mean=tuple(pixels.mean(1).tolist()),
        std=tuple(pixels.std(1).tolist()),
    )


def several(augment: str, mixing: Any) -> dict[str, Any]:
    """The `data` section of what `of_several` makes."""
    sources = [{"name": name, "source": "synthetic", "tasks": list(TASKS)} for name in ("few", "many")]
    return {"sources": sources, "augment": augment, "mixing": mixing}


def of_several(data: PreparedData) -> PreparedData:
    """The same data, of which the first twenty images are one source and all others another."""
    images = np.asarray(data.images)
    sources = {"few": range(20), "many": range(20, len(images))}
    return replace(data, images=JoinedImages((images[:20], images[20:])), sources=sources)


def trial(
    *, tasks: tuple[str, ...] | dict[str, Any] = tuple(TASKS), seed: int = 0, **sections: Any
) -> TrialConfig:
    """A trial over these tasks (by name, or described anew); `sections` replace whole sections."""
    training = {"epochs": 3, "batch_size": 32, "optimizer": {"name": "adam", "lr": 3e-3}}
    own = tasks if isinstance(tasks, dict) else {task: TASKS[task] for task in tasks}
    raw = {"seed": seed, "data": {"source": "synthetic"}, "tasks": own, "training": training} | sections
    return TrialConfig.model_validate(raw)
