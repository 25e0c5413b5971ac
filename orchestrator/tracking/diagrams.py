"""Diagrams of one trial: what is taken for what, how far confidence can be trusted, and the worst mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.tracking.canvas import BLUE, FAINT, GRID, INK, ORANGE, RED, WHITE, Box, Canvas, shade
from trainables.data.joined import JoinedImages
from trainables.data.prepared import TaskLabels
from trainables.training.predictions import TaskPredictions

MOST_CLASSES = 30
"""Rows and columns of a confusion matrix: with more classes, those that are confused most."""
MOST_NUMBERED = 12
"""With up to so many classes the cells say how many examples they hold."""
BINS = 15
COLUMNS, ROWS = 3, 3
MOST_LINES = 5
"""Tasks that are spelt out under an image: wrong ones first."""


def task_diagram(
    task: str, predictions: TaskPredictions, labels: TaskLabels, classes: Sequence[str]
) -> Canvas:
    """Confusion (multilabel: errors by tag) on the left, reliability on the right."""
    canvas = Canvas(1080, 560)
    present = labels.present
    canvas.text(24, 16, f"{task}: {int(present.sum()):,} labelled validation images", size=18)
    predicted, truth = predictions.predicted[present], labels.values[present]
    if predicted.ndim == 2:
        _tag_errors(canvas, (140, 84, 520, 530), predicted, truth, classes)
    else:
        _confusion(canvas, (150, 84, 560, 494), predicted, truth, classes)
    _reliability(
        canvas,
        (690, 84, 1050, 494),
        predictions.confidence[present].ravel(),
        (predicted == truth).ravel(),
    )
    return canvas


def _confusion(
    canvas: Canvas, box: Box, predicted: NDArray[np.int32], truth: NDArray[np.int64], classes: Sequence[str]
) -> None:
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    shown = np.arange(len(classes))
    if len(classes) > MOST_CLASSES:
        mistaken = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
        shown = np.sort(np.argsort(-mistaken, kind="stable")[:MOST_CLASSES])
        canvas.text(box[0], box[1] - 24, f"the {MOST_CLASSES} classes confused most", color=FAINT)
    else:
        canvas.text(box[0], box[1] - 24, "share of each true class (row)", color=FAINT)
    cell = (box[2] - box[0]) / len(shown)
    size = int(min(14, max(8, cell * 0.45)))
    for i, row in enumerate(shown.tolist()):
        total = max(int(counts[row].sum()), 1)
        y = box[1] + i * cell
        canvas.text(box[0] - 6, y + cell / 2, classes[row], size=size, anchor="rm", width=110)
        for j, column in enumerate(shown.tolist()):
            x, share = box[0] + j * cell, counts[row, column] / total
            canvas.box(
                (x, y, x + cell - 1, y + cell - 1), shade(share) if counts[row, column] else (247, 248, 249)
            )
            if len(shown) <= MOST_NUMBERED and counts[row, column]:
                color = WHITE if share > 0.45 else INK
                canvas.text(
                    x + cell / 2, y + cell / 2, str(counts[row, column]), size=size, color=color, anchor="mm"
                )
    for j, column in enumerate(shown.tolist()):
        x = box[0] + (j + 0.5) * cell
        if len(shown) <= MOST_NUMBERED:
            canvas.text(x, box[3] + 6, classes[column], size=size, anchor="ma", width=cell - 2)
    canvas.text((box[0] + box[2]) / 2, box[3] + 30, "predicted", color=FAINT, anchor="ma")
    canvas.vertical(20, (box[1] + box[3]) / 2, "true")


def _tag_errors(
    canvas: Canvas, box: Box, predicted: NDArray[np.int32], truth: NDArray[np.int64], tags: Sequence[str]
) -> None:
    """Of every tag, the share of examples where it was missed and where it was invented; the worst on top."""
    count = max(len(truth), 1)
    missed = ((predicted == 0) & (truth == 1)).sum(0) / count
    invented = ((predicted == 1) & (truth == 0)).sum(0) / count
    order = np.argsort(-(missed + invented), kind="stable")[:20]
    scale = (box[2] - box[0]) / max(float((missed + invented).max(initial=0.0)), 1e-9)
    canvas.text(box[0], box[1] - 24, "share of images:", color=FAINT)
    canvas.text(box[0] + 110, box[1] - 24, "tag missed", color=BLUE)
    canvas.text(box[0] + 190, box[1] - 24, "tag invented", color=ORANGE)
    height = min(28.0, (box[3] - box[1]) / max(len(order), 1))
    for i, tag in enumerate(order.tolist()):
        y, middle = box[1] + i * height, box[0] + missed[tag] * scale
        canvas.text(box[0] - 6, y + height / 2, tags[tag], anchor="rm", width=110)
        canvas.box((box[0], y + 3, middle, y + height - 3), BLUE)
        end = middle + invented[tag] * scale
        canvas.box((middle, y + 3, end, y + height - 3), ORANGE)
        canvas.text(end + 6, y + height / 2, f"{missed[tag] + invented[tag]:.3f}", color=FAINT, anchor="lm")


def _reliability(canvas: Canvas, box: Box, confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> None:
    """Share of right predictions by confidence; on the diagonal, confidence is what it says (Guo et al. 2017)."""
    left, top, end, bottom = box
    width, height = end - left, bottom - top
    for tick in range(0, 11, 2):
        x, y = left + width * tick / 10, bottom - height * tick / 10
        canvas.line(left, y, end, y)
        canvas.text(left - 6, y, f"{tick / 10:.1f}", color=FAINT, anchor="rm")
        canvas.text(x, bottom + 6, f"{tick / 10:.1f}", color=FAINT, anchor="ma")
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = 0.0
    for number in np.unique(bins):
        inside = bins == number
        accuracy, mean = float(right[inside].mean()), float(confidence[inside].mean())
        error += float(inside.mean()) * abs(accuracy - mean)
        x = left + width * number / BINS
        canvas.box((x + 1, bottom - height * accuracy, x + width / BINS - 1, bottom), BLUE)
        share = inside.mean()
        if share >= 0.1:
            canvas.text(
                x + width / BINS / 2, bottom - 4, f"{100 * share:.0f}", size=11, color=WHITE, anchor="mb"
            )
    canvas.line(left, bottom, end, top, ORANGE, 2)
    canvas.text(left, top - 24, f"right by confidence; on average {error:.3f} apart", color=FAINT)
    canvas.text(
        (left + end) / 2, bottom + 30, "confidence (in the bars: % of predictions)", color=FAINT, anchor="ma"
    )
    canvas.vertical(left - 50, (top + bottom) / 2, "right")


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
    lines = min(len(predictions), MOST_LINES)
    tile, side, line = 220, 190, 21
    height = side + 24 + line * lines
    canvas = Canvas(COLUMNS * tile + 20, max(1, -(-len(order) // COLUMNS)) * height + 20)
    if not order:
        canvas.text(20, 20, "No mistakes on the validation images.", size=18)
    for place, i in enumerate(order):
        x, y = 10 + place % COLUMNS * tile, 10 + place // COLUMNS * height
        canvas.box((x + 4, y + 4, x + tile - 5, y + side + 3), GRID)
        canvas.picture((x + 4, y + 4, x + tile - 4, y + side + 4), images[rows[[i]]][0])
        told = [_said(task, own, labels[task], classes[task], i) for task, own in predictions.items()]
        told.sort(key=lambda line: line[1] != RED)
        for n, (text, color) in enumerate(told[:lines]):
            canvas.text(x + 6, y + side + 10 + line * n, text, size=15, color=color, width=tile - 14)
    return canvas


def _said(
    task: str, own: TaskPredictions, labels: TaskLabels, classes: Sequence[str], i: int
) -> tuple[str, tuple[int, int, int]]:
    """One task of one image: the prediction, and the truth where it differs."""
    said, truth = _named(own.predicted[i], classes), _named(labels.values[i], classes)
    sure = float(own.confidence[i].min())
    if not labels.present[i]:
        return f"{task}: {said} ({sure:.2f}), no label", FAINT
    if said == truth:
        return f"{task}: {said} ({sure:.2f})", INK
    return f"{task}: {said} ({sure:.2f}), is {truth}", RED


def _named(value: NDArray[np.integer[Any]], classes: Sequence[str]) -> str:
    if value.ndim == 0:
        return classes[int(value)]
    return "|".join(classes[k] for k in np.flatnonzero(value).tolist()) or "none"
