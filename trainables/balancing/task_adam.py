"""Adam for one number per task."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
LARGEST = 1e150
"""Gradients whose squares are not finite are not finite either."""


class TaskAdam:
    """Adam (Kingma & Ba, ICLR 2015) on T numbers, of which a step may move some: the others stand still.

    `weight_decay` is added to the gradient (L2), as `torch.optim.Adam` does; each task counts its own steps.
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, initial: Array, lr: float, weight_decay: float = 0.0) -> None:
        self.lr = lr
        self.weight_decay = weight_decay
        self.values = initial.astype(np.float64)
        self._first = np.zeros_like(self.values)
        self._second = np.zeros_like(self.values)
        self._steps = np.zeros_like(self.values)

    def step(self, gradient: Array, tasks: NDArray[np.intp]) -> None:
        """Move the numbers of `tasks` (n,) against their `gradient` (n,). One that is not finite moves nothing."""
        g = gradient + self.weight_decay * self.values[tasks]
        if not np.all(np.abs(g) < LARGEST):
            return
        slow, slower = self.BETAS
        self._steps[tasks] += 1
        self._first[tasks] = slow * self._first[tasks] + (1 - slow) * g
        self._second[tasks] = slower * self._second[tasks] + (1 - slower) * g**2
        first = self._first[tasks] / (1 - slow ** self._steps[tasks])
        second = self._second[tasks] / (1 - slower ** self._steps[tasks])
        self.values[tasks] -= self.lr * first / (np.sqrt(second) + self.EPSILON)

    def state_dict(self) -> dict[str, Tensor]:
        """Four vectors (T,)."""
        return {
            name: torch.from_numpy(vector.copy())
            for name, vector in (
                ("values", self.values),
                ("first", self._first),
                ("second", self._second),
                ("steps", self._steps),
            )
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self.values = state["values"].numpy().copy()
        self._first = state["first"].numpy().copy()
        self._second = state["second"].numpy().copy()
        self._steps = state["steps"].numpy().copy()
