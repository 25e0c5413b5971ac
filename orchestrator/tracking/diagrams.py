"""Diagrams of one task of a trial: what is taken for what, and how far confidence can be trusted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.tracking.canvas import BLUE, FAINT, INK, ORANGE, PALE, WHITE, Box, Canvas, shade
from trainables.data.prepared import TaskLabels
from trainables.training.predictions import TaskPredictions

MOST_CLASSES = 30
"""Rows and columns of a confusion matrix: with more classes, those that are confused most."""
MOST_NUMBERED = 12
"""With up to so many classes the cells say how many examples they hold."""
BINS = 15
FEW = 20
"""Bars of fewer predictions say little, and are pale."""


def task_diagram(
    task: str, predictions: TaskPredictions, labels: TaskLabels, classes: Sequence[str]
) -> Canvas:
    """Confusion (multilabel: errors by tag) on the left, reliability on the right."""
    canvas = Canvas(860, 490)  # MLflow's page leaves it 650 pixels
    present = labels.present
    canvas.text(16, 12, f"{task}: {int(present.sum()):,} labelled validation images", size=18)
    predicted, truth = predictions.predicted[present], labels.values[present]
    if predicted.ndim == 2:
        _tag_errors(canvas, (130, 74, 400, 470), predicted, truth, classes)
    else:
        _confusion(canvas, (130, 74, 460, 404), predicted, truth, classes)
    _reliability(
        canvas,
        (560, 74, 840, 404),
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
        canvas.text(box[0], box[1] - 24, "images; shade: share of the true class (row)", color=FAINT)
    cell = (box[2] - box[0]) / len(shown)
    size = int(min(15, max(8, cell * 0.45)))
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
    canvas.text((box[0] + box[2]) / 2, box[3] + 28, "predicted", color=FAINT, anchor="ma")
    canvas.vertical(12, (box[1] + box[3]) / 2, "true")


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
    canvas.text(box[0] + 122, box[1] - 24, "tag missed", color=BLUE)
    canvas.text(box[0] + 208, box[1] - 24, "tag invented", color=ORANGE)
    height = min(28.0, (box[3] - box[1]) / max(len(order), 1))
    for i, tag in enumerate(order.tolist()):
        y, middle = box[1] + i * height, box[0] + missed[tag] * scale
        canvas.text(box[0] - 6, y + height / 2, tags[tag], anchor="rm", width=110)
        end = middle + invented[tag] * scale
        for left, right, color in ((box[0], middle, BLUE), (middle, end, ORANGE)):
            if left < right:  # else a line would be drawn
                canvas.box((left, y + 3, right, y + height - 3), color)
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
        share = inside.mean()
        color = BLUE if inside.sum() >= FEW else PALE
        canvas.box((x + 1, bottom - height * accuracy, x + width / BINS - 1, bottom), color)
        if share >= 0.1:
            canvas.text(
                x + width / BINS / 2, bottom - 4, f"{100 * share:.0f}", size=11, color=WHITE, anchor="mb"
            )
    canvas.line(left, bottom, end, top, ORANGE, 2)
    canvas.text(left, top - 24, f"share that is right, ECE {error:.3f}", color=FAINT)
    canvas.text(end, top - 24, "ideal", color=ORANGE, anchor="ra")
    canvas.text((left + end) / 2, bottom + 26, "confidence", color=FAINT, anchor="ma")
    told = f"in the bars: % of predictions; pale: under {FEW}"
    canvas.text((left + end) / 2, bottom + 46, told, color=FAINT, anchor="ma")
