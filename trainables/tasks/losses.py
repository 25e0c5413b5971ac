"""Losses per task: sums over labelled examples, to be divided by global denominators.

A loss is split so that any number of workers computes the same thing: S = Σ_i m_i ℓ_i over this worker's
rows, and a weight per example whose sum over the *global* batch is the denominator N. Label arrays are in
memory everywhere, so N needs no communication.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask, TaskConfig
from trainables.data.columns import canonical
from trainables.data.prepared import TaskLabels
from trainables.errors import TrainingError

ABSENT = -100
"""Class index of an example without label (what `cross_entropy` ignores)."""


class TaskLoss(ABC):
    """The loss of one task. Targets are encoded once for all examples, absent labels included."""

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs
        """Logits per example."""

    @abstractmethod
    def encode(self, labels: TaskLabels) -> Tensor:
        """Targets of all N examples with their absence, as one tensor with N rows."""

    def example_weights(self, labels: TaskLabels) -> NDArray[np.float64]:
        """What each example adds to the denominator: (N,), 0 where the label is absent."""
        return labels.present.astype(np.float64)

    @abstractmethod
    def total(self, logits: Tensor, targets: Tensor, *, complete: bool = False) -> Tensor:
        """S, a scalar: the sum of losses over rows that have a label. `complete`: all of them have one."""

    @abstractmethod
    def without_smoothing(self) -> "TaskLoss":
        """The same loss on the labels as they are: what validation reports."""


class MulticlassLoss(TaskLoss):
    """Cross-entropy; with class weights the mean that torch defines: Σ w_y ℓ / Σ w_y."""

    def __init__(self, classes: int, smoothing: float, weights: NDArray[np.float64] | None) -> None:
        super().__init__(classes)
        self.smoothing = smoothing
        self.weights = weights
        self._tensors: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def encode(self, labels: TaskLabels) -> Tensor:
        """(N,) int64."""
        return torch.from_numpy(np.where(labels.present, labels.values, ABSENT).astype(np.int64))

    def example_weights(self, labels: TaskLabels) -> NDArray[np.float64]:
        """The weight of each example's class."""
        if self.weights is None:
            return super().example_weights(labels)
        values = np.where(labels.present, labels.values, 0)
        return np.where(labels.present, self.weights[values], 0.0)

    def total(self, logits: Tensor, targets: Tensor, *, complete: bool = False) -> Tensor:
        """(B, K) logits, (B,) class indices."""
        return functional.cross_entropy(
            logits,
            targets,
            weight=_like(logits, self.weights, self._tensors),
            ignore_index=ABSENT,
            reduction="sum",
            label_smoothing=self.smoothing,
        )

    def without_smoothing(self) -> "MulticlassLoss":
        """Class weights stay: they say what counts."""
        return MulticlassLoss(self.outputs, 0.0, self.weights)


class BinaryLoss(TaskLoss):
    """Binary cross-entropy on one logit; `positive_weight` multiplies the loss of positives."""

    def __init__(self, smoothing: float, positive_weight: float | None) -> None:
        super().__init__(1)
        self.smoothing = smoothing
        self.positive_weight = positive_weight
        self._tensors: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def encode(self, labels: TaskLabels) -> Tensor:
        """(N,) float32: 0 or 1, and -1 where absent."""
        return torch.from_numpy(np.where(labels.present, labels.values, -1).astype(np.float32))

    def total(self, logits: Tensor, targets: Tensor, *, complete: bool = False) -> Tensor:
        """(B, 1) logits, (B,) encoded targets."""
        logits = logits.squeeze(1)
        wanted = targets.to(logits.dtype)
        if not complete:
            wanted = wanted.clamp(min=0)
        if self.smoothing > 0:
            wanted = wanted * (1 - self.smoothing) + self.smoothing / 2
        weight = _like(logits, self.positive_weight, self._tensors)
        if complete:
            return functional.binary_cross_entropy_with_logits(
                logits, wanted, pos_weight=weight, reduction="sum"
            )
        losses = functional.binary_cross_entropy_with_logits(
            logits, wanted, pos_weight=weight, reduction="none"
        )
        return (losses * (targets >= 0)).sum()

    def without_smoothing(self) -> "BinaryLoss":
        """The positive weight stays."""
        return BinaryLoss(0.0, self.positive_weight)


class MultilabelLoss(TaskLoss):
    """Binary cross-entropy on one logit per tag, mean over tags."""

    def __init__(self, tags: int, smoothing: float) -> None:
        super().__init__(tags)
        self.smoothing = smoothing

    def encode(self, labels: TaskLabels) -> Tensor:
        """(N, K) int8: 0 or 1, and -1 in rows that are absent."""
        return torch.from_numpy(np.where(labels.present[:, None], labels.values, -1).astype(np.int8))

    def total(self, logits: Tensor, targets: Tensor, *, complete: bool = False) -> Tensor:
        """(B, K) logits, (B, K) encoded targets."""
        wanted = targets.to(logits.dtype)
        if not complete:
            wanted = wanted.clamp(min=0)
        if self.smoothing > 0:
            wanted = wanted * (1 - self.smoothing) + self.smoothing / 2
        if complete:
            return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / self.outputs
        losses = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return (losses * (targets >= 0)).sum() / self.outputs

    def without_smoothing(self) -> "MultilabelLoss":
        """The same, unsmoothed."""
        return MultilabelLoss(self.outputs, 0.0)


def _like(
    logits: Tensor,
    value: NDArray[np.float64] | float | None,
    known: dict[tuple[torch.dtype, torch.device], Tensor],
) -> Tensor | None:
    """`value` as a tensor like `logits`, kept in `known`: sending it every step would wait for the device."""
    if value is None:
        return None
    key = (logits.dtype, logits.device)
    if key not in known:
        known[key] = torch.as_tensor(value, dtype=logits.dtype, device=logits.device)
    return known[key]


def build_loss(
    task: str, config: TaskConfig, classes: Sequence[str], labels: TaskLabels, train_rows: NDArray[np.int64]
) -> TaskLoss:
    """The loss of `task`; balanced weights come from the labels of `train_rows`."""
    match config:
        case MulticlassTask():
            present = labels.present[train_rows]
            counts = np.bincount(labels.values[train_rows][present], minlength=len(classes))
            weights = _class_weights(task, config.class_weights, classes, counts)
            return MulticlassLoss(len(classes), config.label_smoothing, weights)
        case BinaryTask():
            weight = config.positive_weight
            if weight == "balanced":
                values = labels.values[train_rows][labels.present[train_rows]]
                positives = max(int(values.sum()), 1)
                weight = max(len(values) - positives, 1) / positives
            return BinaryLoss(config.label_smoothing, weight)
        case MultilabelTask():
            return MultilabelLoss(len(classes), config.label_smoothing)


def _class_weights(
    task: str, weights: str | dict[str, float] | None, classes: Sequence[str], counts: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Weights by class index: as configured, or proportional to 1 / frequency with mean 1."""
    if weights is None:
        return None
    if isinstance(weights, str):
        inverse = 1 / np.maximum(counts, 1).astype(np.float64)
        inverse[counts == 0] = inverse[counts > 0].mean() if (counts > 0).any() else 1.0
        balanced: NDArray[np.float64] = inverse / inverse.mean()
        return balanced
    key = f"tasks.{task}.class_weights"
    weights = {canonical(name): weight for name, weight in weights.items()}
    for name in weights:
        if name not in classes:
            near = difflib.get_close_matches(name, classes, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Its classes: {', '.join(classes[:20])}."
            raise TrainingError(f"{key} names {name!r}, which is no class of {task}.", hint=hint, key=key)
    return np.array([weights.get(name, 1.0) for name in classes])
