"""Learned scales of losses: uncertainty weighting and IMTL-L."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainables.balancing.balancer import LossBalancer
from trainables.balancing.step import Step
from trainables.balancing.task_adam import TaskAdam

Array = NDArray[np.float64]


class LearnedScales(LossBalancer):
    """Weights e^(±s_t) with s_t, 0 at first, learned by an Adam of their own and without weight decay.

    Departure: the papers let the network's optimizer learn s_t; its weight decay would pull on them.
    """

    def __init__(self, tasks: Sequence[str], step_size: float) -> None:
        super().__init__(tasks)
        self.scales = TaskAdam(np.zeros(len(tasks)), step_size)
        self._gradient = np.zeros(0)

    @abstractmethod
    def objective(self, s: Array, losses: Array) -> tuple[Array, Array]:
        """Derivatives of the method's objective: by L_t, which are the weights, and by s_t."""

    def task_weights(self, step: Step) -> Array:
        """One collective of T numbers."""
        s = self.scales.values[self.present(step)]
        with np.errstate(over="ignore"):  # what is infinite is seen by `usable`
            weights, self._gradient = self.objective(s, step.mean_losses().numpy())
        return weights

    def after_step(self, step: Step) -> None:
        """Every s_t of the step moves."""
        super().after_step(step)
        self.scales.step(self._gradient, self.present(step))

    def state_dict(self) -> dict[str, Tensor]:
        """s_t and their moments."""
        return self.scales.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self.scales.load_state_dict(state)


class Uncertainty(LearnedScales):
    """Kendall et al., CVPR 2018, eq. 10: Σ e^(-s) L + s/2 with s = log σ², the form for classification."""

    def objective(self, s: Array, losses: Array) -> tuple[Array, Array]:
        """e^(-s), ½ - e^(-s) L."""
        return np.exp(-s), 0.5 - np.exp(-s) * losses


class IMTLL(LearnedScales):
    """IMTL-L (Liu et al., ICLR 2021, eq. 6): Σ e^s L - s."""

    def objective(self, s: Array, losses: Array) -> tuple[Array, Array]:
        """e^s, e^s L - 1."""
        return np.exp(s), np.exp(s) * losses - 1
