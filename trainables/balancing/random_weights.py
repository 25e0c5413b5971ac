"""Weights drawn at random."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.balancing.balancer import LossBalancer
from trainables.balancing.step import Step
from trainables.model.keyed import derived_seed


class RandomWeights(LossBalancer):
    """Random loss weighting (Lin et al., TMLR 2022, algorithm 2): drawn anew for every step; they sum to 1.

    A task's draw does not depend on which others have labels.
    """

    def __init__(self, tasks: Sequence[str], distribution: Literal["normal", "dirichlet"]) -> None:
        super().__init__(tasks)
        self.distribution = distribution

    def task_weights(self, step: Step) -> NDArray[np.float64]:
        """Softmax of normal draws, or exponential draws made to sum to 1, which is Dirichlet(1)."""
        random = np.random.default_rng(
            derived_seed(step.seed, step.epoch, step.index, "balancing", "weights")
        )
        size = len(self.tasks)
        normal = self.distribution == "normal"
        drawn = np.exp(random.normal(size=size)) if normal else random.exponential(size=size)
        own: NDArray[np.float64] = drawn[self.present(step)]
        weights: NDArray[np.float64] = own / own.sum()
        return weights
