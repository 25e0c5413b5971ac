"""The labels of all tasks as the trainer uses them: encoded once, sliced every step."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data.prepared import TaskLabels
from trainables.tasks.losses import TaskLoss


class Targets:
    """Encoded labels of the rows of one split, by task, in a given order of rows."""

    def __init__(
        self,
        encoded: Mapping[str, Tensor],
        weights: Mapping[str, NDArray[np.float64]],
        present: Mapping[str, NDArray[np.bool_]],
    ) -> None:
        self.encoded = dict(encoded)
        """What `TaskLoss.encode` made of them: n rows."""
        self.weights = dict(weights)
        """What each row adds to the denominator of its task's loss: (n,), 0 without label."""
        self.present = dict(present)
        """(n,): whether there is a label."""

    @classmethod
    def of(
        cls, losses: Mapping[str, TaskLoss], labels: Mapping[str, TaskLabels], rows: NDArray[np.int64]
    ) -> "Targets":
        """The labels of `rows`."""
        chosen = {task: TaskLabels(labels[task].values[rows], labels[task].present[rows]) for task in losses}
        return cls(
            {task: loss.encode(chosen[task]) for task, loss in losses.items()},
            {task: loss.example_weights(chosen[task]) for task, loss in losses.items()},
            {task: own.present for task, own in chosen.items()},
        )

    def labelled(self, order: Tensor) -> dict[str, int]:
        """Number of labels by task among the rows of `order`, of which some may come several times."""
        rows = order.numpy()
        return {task: int(present[rows].sum()) for task, present in self.present.items()}

    def complete(self) -> dict[str, bool]:
        """By task: whether every row has a label."""
        return {task: bool(present.all()) for task, present in self.present.items()}

    def in_order(self, order: Tensor, device: torch.device) -> dict[str, Tensor]:
        """Encoded labels by task in another order of rows, on the device."""
        return {task: encoded[order].to(device) for task, encoded in self.encoded.items()}

    def weights_in_order(self, order: Tensor) -> dict[str, NDArray[np.float64]]:
        """What each row adds to its denominator, by task, in another order of rows."""
        rows = order.numpy()
        return {task: own[rows] for task, own in self.weights.items()}
