"""The cosines of tasks' gradients at each part of a backbone, measured while it trains with equal weights."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from trainables.balancing.balancer import LossBalancer
from trainables.balancing.conflict import cosines
from trainables.balancing.gradients import Array, gramian_of_rows, reduced_rows, task_gradients
from trainables.balancing.step import Step


class ConflictProbe(LossBalancer):
    """Σ_t L_t, step for step as `equal` has it; every few steps it also looks at each task's own gradient.

    The angles are Recon's (Shi et al., ICLR 2023): between gradients over the global batch, one layer at a time;
    layers are the parts of the backbone. A look costs T backward passes and, on N workers, T·P numbers.
    What was seen decides nothing, so that it is no state.
    """

    def __init__(self, tasks: Sequence[str], parts: Sequence[Sequence[nn.Parameter]], every: int) -> None:
        """`parts`: trained parameters of each part, none where it has none; `every`: steps from look to look."""
        super().__init__(tasks)
        self.seen: list[Array] = []
        """For each look (S, T, T): cosines at S parts; NaN for a task without labels in the batch, or without
        gradient there."""
        self._parameters = [parameter for part in parts for parameter in part]
        self._sizes = [sum(parameter.numel() for parameter in part) for part in parts]
        self._every = every
        self._look: Array | None = None

    def task_weights(self, step: Step) -> Sequence[float]:
        """One for each."""
        return [1.0] * len(step.tasks)

    def backward(self, step: Step) -> None:
        """∇ Σ_t L_t. In every `every`-th step of an epoch, its first included, the gradient of each task first."""
        if step.index % self._every == 0:
            self._look = self._cosines(step)
        super().backward(step)

    def after_step(self, step: Step) -> None:
        """Keep the last look at this step."""
        super().after_step(step)
        if self._look is not None:
            self.seen.append(self._look)
            self._look = None

    def _cosines(self, step: Step) -> Array:
        matrix_TP = reduced_rows(step, task_gradients(step, self._parameters, retain_graph=True))
        present = self.present(step)
        found_STT = np.full((len(self._sizes), len(self.tasks), len(self.tasks)), np.nan)
        for found_TT, own_TP in zip(found_STT, torch.split(matrix_TP, self._sizes, dim=1), strict=True):
            found_TT[np.ix_(present, present)] = cosines(gramian_of_rows(own_TP))
        return found_STT
