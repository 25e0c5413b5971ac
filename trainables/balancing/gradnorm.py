"""Gradient normalisation."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.balancing.balancer import LossBalancer
from trainables.balancing.gradients import gramian_of_rows, last_shared_layer, reduced_rows, task_gradients
from trainables.balancing.step import Step
from trainables.balancing.task_adam import TaskAdam

Array = NDArray[np.float64]
LEAST = 1e-3
"""No weight falls below, which would be the end of its task."""


class GradNorm(LossBalancer):
    """GradNorm (Chen et al., ICML 2018, algorithm 1); weights start at 1 and sum to T.

    w_t moves so that ‖w_t g_t‖ approaches Ḡ·r_t^α, where g_t is the gradient at the last shared layer, Ḡ the
    mean of ‖w_t g_t‖ and r_t = (L_t/L_t⁰) relative to its mean. L_t⁰ is the first loss that was seen of t.
    Norms are taken relative to their mean, which changes no minimum and keeps Adam's ε out of it.
    """

    def __init__(self, tasks: Sequence[str], alpha: float, step_size: float) -> None:
        super().__init__(tasks)
        self.alpha = alpha
        self.weights = TaskAdam(np.ones(len(tasks)), step_size)
        self._first = np.zeros(len(tasks))  # 0: not seen yet
        self._now = self._first
        self._gradient = np.zeros(0)

    def task_weights(self, step: Step) -> Array:
        """T backward passes down to the last shared layer, whose gradients are reduced."""
        present = self.present(step)
        rows = task_gradients(step, last_shared_layer(step.model), retain_graph=True)
        gramian_TT = gramian_of_rows(reduced_rows(step, rows))
        losses = step.mean_losses().numpy()
        own: Array = self.weights.values[present]
        with np.errstate(all="ignore"):  # a gradient that is not finite moves no weight
            norms = np.sqrt(np.maximum(np.diag(gramian_TT), 0))
            self._now = self._first.copy()
            self._now[present] = np.where(self._first[present] > 0, self._first[present], losses)
            ratios = np.divide(
                losses, self._now[present], out=np.ones_like(losses), where=self._now[present] > 0
            )
            rates = ratios / ratios.mean() if ratios.mean() > 0 else np.ones_like(ratios)
            norms = norms / norms.mean() if norms.mean() > 0 else norms
            wanted = (own * norms).mean() * rates**self.alpha
            self._gradient = np.sign(own * norms - wanted) * norms
        return own

    def after_step(self, step: Step) -> None:
        """Weights move; those of the step keep their sum."""
        super().after_step(step)
        present = self.present(step)
        self._first = self._now
        total = self.weights.values[present].sum()
        self.weights.step(self._gradient, present)
        moved = np.maximum(self.weights.values[present], LEAST)
        self.weights.values[present] = moved * total / moved.sum()

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, their moments and `first_losses` (T,)."""
        return {**self.weights.state_dict(), "first_losses": torch.from_numpy(self._first.copy())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self.weights.load_state_dict(state)
        self._first = self._now = state["first_losses"].numpy().copy()
