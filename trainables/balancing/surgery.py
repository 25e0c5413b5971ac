"""Gradient surgery: one gradient after the other is bent until it no longer conflicts."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trainables.balancing.gramian import Array, Gradients, Weighting


def operate(
    gramian_TT: Array, goals_TT: Array, beta: float, random: np.random.Generator
) -> tuple[Array, Array]:
    """Weights (T,) after surgery and the goals (T, T) that follow.

    Each gradient i meets the others j in random order; while their cosine φ is below the goal φ̂_ij, a
    multiple of g_j is added that makes it φ̂_ij. Then φ̂_ij moves towards φ by `beta`.
    """
    tasks = len(gramian_TT)
    goals = goals_TT.copy()
    norms = np.sqrt(np.maximum(np.diag(gramian_TT), 0))
    weights = np.zeros(tasks)
    for i in range(tasks):
        own = np.zeros(tasks)
        own[i] = 1
        products = gramian_TT[i].copy()  # of the gradient as it is now with all original ones
        for j in random.permutation(tasks):
            norm = np.sqrt(max(own @ products, 0))
            if j == i or norm == 0 or norms[j] == 0:
                continue
            cosine = np.clip(products[j] / (norm * norms[j]), -1, 1)
            goal = goals[i, j]
            if cosine < goal:
                sine, goal_sine = np.sqrt(1 - cosine**2), np.sqrt(1 - goal**2)
                if goal_sine > 0:  # a goal of 1 cannot be reached
                    added = norm * (goal * sine - cosine * goal_sine) / (norms[j] * goal_sine)
                    own[j] += added
                    products += added * gramian_TT[j]
            goals[i, j] = (1 - beta) * goal + beta * cosine
        weights += own
    return weights, goals


class PCGrad(Weighting):
    """PCGrad (Yu et al., NeurIPS 2020, algorithm 1): surgery with the goal of cosines that are not negative."""

    def weigh(self, gradients: Gradients) -> Array:
        """1 for each gradient that conflicts with none."""
        goals = np.zeros_like(gradients.gramian_TT)
        return operate(gradients.gramian_TT, goals, 0.0, gradients.random)[0]


class GradVac(Weighting):
    """Gradient Vaccine (Wang et al., ICLR 2021, algorithm 1): the goal of each pair is its usual cosine.

    Gradients of the whole shared part are operated on at once (the paper's `whole_model`). `beta` is 0.5 in
    public implementations.
    """

    def __init__(self, tasks: int, beta: float) -> None:
        self.beta = beta
        self._goals = self._next = np.zeros((tasks, tasks))

    def weigh(self, gradients: Gradients) -> Array:
        """As PCGrad's while all goals are 0."""
        pairs = np.ix_(gradients.present, gradients.present)
        weights, goals = operate(gradients.gramian_TT, self._goals[pairs], self.beta, gradients.random)
        self._next = self._goals.copy()
        self._next[pairs] = goals
        return weights

    def advance(self) -> None:
        """The goals follow."""
        self._goals = self._next

    def state_dict(self) -> dict[str, Tensor]:
        """`goals` (T, T)."""
        return {"goals": torch.from_numpy(self._goals.copy())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self._goals = self._next = state["goals"].numpy().copy()
