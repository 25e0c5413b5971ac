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
    (auroc: or that alone occurs) is left out of them; with none left they are NaN. So is everything when a
    logit is not finite.
    """
    if len(targets) == 0 or not bool(torch.isfinite(logits).all()):
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
        per_class = multiclass_f1_score(logits.argmax(1), targets, num_classes=classes, average="none")
        occurs = torch.bincount(targets, minlength=classes) > 0
    elif isinstance(task, BinaryTask) or classes == 1:
        per_class = binary_f1_score((logits > 0).flatten().long(), targets.flatten())
        occurs = targets.any()
    else:
        per_class = multilabel_f1_score((logits > 0).long(), targets, num_labels=classes, average="none")
        occurs = targets.any(0)
    return float(per_class[occurs].double().mean())  # NaN when nothing occurs


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
    """Log-odds and 0/1 targets, one column per class whose ranking counts."""
    if isinstance(task, MulticlassTask):
        return _log_odds(logits), torch.nn.functional.one_hot(targets, logits.shape[1])
    return logits, targets.reshape(len(targets), -1)


def _log_odds(logits: Tensor) -> Tensor:
    """Give log p/(1 - p) of the softmax (M, K): in the order of p, but without an end at p = 1."""
    log_p = logits.log_softmax(1)
    likeliest = logits.argmax(1, keepdim=True)
    log_odds = log_p - torch.log1p(-log_p.exp())  # exact while p ≤ ½, that is for all others
    rest = logits.scatter(1, likeliest, -math.inf).logsumexp(1, keepdim=True)
    return log_odds.scatter(1, likeliest, logits.gather(1, likeliest) - rest)


def _ranks(scores: Tensor) -> Tensor:
    """(M,) the same order and ties, in [0, 1]: torchmetrics puts anything else through a sigmoid."""
    distinct: Tensor
    ranks: Tensor
    distinct, ranks = torch.unique(scores, return_inverse=True)
    return ranks.double() / len(distinct)


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
    return sum(float(metric(_ranks(scores[:, c]), targets[:, c])) for c in columns) / len(columns)
