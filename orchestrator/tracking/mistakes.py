"""The images on which a trial was most wrong, each with all its tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.tracking.canvas import FAINT, GRID, INK, RED, Canvas, Color
from trainables.data.joined import JoinedImages
from trainables.data.prepared import TaskLabels
from trainables.training.predictions import TaskPredictions

COLUMNS, ROWS = 3, 3
MOST_LINES = 7
"""Under an image: wrong tasks first, of which each takes two, what was said and what it is."""


def worst_mistakes(
    images: NDArray[np.uint8] | JoinedImages,
    rows: NDArray[np.int64],
    predictions: Mapping[str, TaskPredictions],
    labels: Mapping[str, TaskLabels],
    classes: Mapping[str, Sequence[str]],
) -> Canvas:
    """The images on which the truth surprised the model most, each with all its tasks.

    Args:
        images: (N, C, H, W) of all examples.
        rows: (M,) the validation examples among them.
        predictions: of these, by task.
        labels: of these, by task.
        classes: names by task.
    """
    worst = np.full(len(rows), -np.inf)
    for task, own in predictions.items():
        wrong = own.wrong(labels[task])
        worst = np.where(wrong, np.maximum(worst, np.nan_to_num(own.surprise, nan=-np.inf)), worst)
    order = [i for i in np.argsort(-worst, kind="stable")[: COLUMNS * ROWS] if worst[i] > -np.inf]
    told = [
        [
            line
            for _, lines in sorted(
                (_said(task, own, labels[task], classes[task], i) for task, own in predictions.items()),
                key=lambda said: not said[0],
            )
            for line in lines
        ][:MOST_LINES]
        for i in order
    ]
    tile, side, line = 220, 190, 20
    height = side + 20 + line * max(map(len, told), default=0)
    canvas = Canvas(COLUMNS * tile + 20, max(1, -(-len(order) // COLUMNS)) * height + 20)
    if not order:
        canvas.text(20, 20, "No mistakes on the validation images.", size=18)
    for place, (i, lines) in enumerate(zip(order, told, strict=True)):
        x, y = 10 + place % COLUMNS * tile, 10 + place // COLUMNS * height
        canvas.box((x + 4, y + 4, x + tile - 5, y + side + 3), GRID)
        canvas.picture((x + 4, y + 4, x + tile - 4, y + side + 4), images[rows[[i]]][0])
        for n, (text, color) in enumerate(lines):
            canvas.text(x + 6, y + side + 8 + line * n, text, size=15, color=color, width=tile - 10)
    return canvas


def _said(
    task: str, own: TaskPredictions, labels: TaskLabels, classes: Sequence[str], i: int
) -> tuple[bool, list[tuple[str, Color]]]:
    """One task of one image: whether it is wrong, and in lines the prediction, and the truth where it differs."""
    said, truth = _named(own.predicted[i], classes), _named(labels.values[i], classes)
    told = f"{task}: {said} {float(own.confidence[i].min()):.2f}"
    if not labels.present[i]:
        return False, [(f"{told}, no label", FAINT)]
    if said == truth:
        return False, [(told, INK)]
    return True, [(told, RED), (f"    is {truth}", RED)]


def _named(value: NDArray[np.integer[Any]], classes: Sequence[str]) -> str:
    if value.ndim == 0:
        return classes[int(value)]
    return "|".join(classes[k] for k in np.flatnonzero(value).tolist()) or "none"
