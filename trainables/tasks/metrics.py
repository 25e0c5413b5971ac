"""Metrics per task, computed once on all validation logits.

Accuracy is ours. The others are torchmetrics', imported when first asked for: that import takes seconds.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.config.tasks import BinaryTask, MulticlassTask, TaskConfig

METRICS = ("accuracy", "f1", "auroc", "average_precision", "ece")
ECE_BINS = 15


def compute_metric(name: str, task: TaskConfig, logits: Tensor, targets: Tensor) -> float:
    """One metric over examples that have a label; NaN where it is undefined.

    Args:
        name: accuracy, f1, auroc, average_precision or ece.
        task: says what the logits mean.
        logits: (M, K); binary: (M, 1).
        targets: multiclass (M,) class indices, binary (M,) 0 or 1, multilabel (M, K) 0 or 1.

    f1, auroc and average_precision are unweighted means over classes or tags. A class that does not occur
    (auroc: or that alone occurs) is left out of auroc and average_precision; with none left they are NaN.
    """
    if len(targets) == 0:
        return math.nan
    logits = logits.double()
    if name == "accuracy":
        return _accuracy(task, logits, targets)
    if name == "f1":
        return _f1(task, logits, targets.long())
    if name == "ece":
        return _ece(task, logits, targets.long())
    scores, wanted = _one_versus_rest(task, logits, targets.long())
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    if name == "auroc":
        return _mean_over_classes(binary_auroc, scores, wanted, needs_negatives=True)
    if name == "average_precision":
        return _mean_over_classes(binary_average_precision, scores, wanted, needs_negatives=False)
    raise ValueError(f"unknown metric {name!r}")


def _accuracy(task: TaskConfig, logits: Tensor, targets: Tensor) -> float:
    if isinstance(task, MulticlassTask):
        right = logits.argmax(1) == targets
    elif isinstance(task, BinaryTask):
        right = (logits.squeeze(1) > 0) == (targets > 0)
    else:
        right = (logits > 0) == (targets > 0)
    return right.double().mean().item()


def _f1(task: TaskConfig, logits: Tensor, targets: Tensor) -> float:
    from torchmetrics.functional.classification import (
        binary_f1_score,
        multiclass_f1_score,
        multilabel_f1_score,
    )

    classes = logits.shape[1]
    if isinstance(task, MulticlassTask):
        return float(multiclass_f1_score(logits.argmax(1), targets, num_classes=classes, average="macro"))
    if isinstance(task, BinaryTask) or classes == 1:
        return float(binary_f1_score((logits > 0).flatten().long(), targets.flatten()))
    return float(multilabel_f1_score((logits > 0).long(), targets, num_labels=classes, average="macro"))


def _ece(task: TaskConfig, logits: Tensor, targets: Tensor) -> float:
    """Expected calibration error; multilabel: every tag of every example is one prediction."""
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

    if isinstance(task, MulticlassTask):
        probabilities = logits.softmax(1)
        return float(
            multiclass_calibration_error(probabilities, targets, num_classes=logits.shape[1], n_bins=ECE_BINS)
        )
    return float(binary_calibration_error(logits.sigmoid().flatten(), targets.flatten(), n_bins=ECE_BINS))


def _one_versus_rest(task: TaskConfig, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in [0, 1] and 0/1 targets, one column per class whose ranking counts."""
    if isinstance(task, MulticlassTask):
        return logits.softmax(1), torch.nn.functional.one_hot(targets, logits.shape[1])
    return logits.sigmoid(), targets.reshape(len(targets), -1)


def _mean_over_classes(
    metric: Callable[[Tensor, Tensor], Tensor], scores: Tensor, targets: Tensor, *, needs_negatives: bool
) -> float:
    positives = targets.sum(0)
    defined = positives > 0
    if needs_negatives:
        defined &= positives < len(targets)
    columns = defined.nonzero().flatten().tolist()
    if not columns:
        return math.nan
    return sum(float(metric(scores[:, c], targets[:, c])) for c in columns) / len(columns)
