"""Dynamic weight average."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.balancing.balancer import LossBalancer
from trainables.balancing.step import Step


class DWA(LossBalancer):
    """DWA (Liu et al., CVPR 2019, eq. 7): softmax of L(e-1)/L(e-2) over the temperature; sums to T.

    L(e) are mean losses of epochs, weighted by counts over all workers. A task without two epochs of losses
    counts as one whose loss stands still.
    """

    def __init__(self, tasks: Sequence[str], temperature: float) -> None:
        super().__init__(tasks)
        self.temperature = temperature
        self._means = np.full((2, len(tasks)), np.nan)  # of the last epoch but one, and the last

    def task_weights(self, step: Step) -> NDArray[np.float64]:
        """The same throughout an epoch."""
        before, last = self._means[:, self.present(step)]
        rates = np.divide(last, before, out=np.ones_like(last), where=before > 0)
        rates[~np.isfinite(rates)] = 1
        powers = np.exp((rates - rates.max()) / self.temperature)
        weights: NDArray[np.float64] = len(rates) * powers / powers.sum()
        return weights

    def end_epoch(self, losses: Mapping[str, float]) -> Mapping[str, float]:
        """The history moves on."""
        means = np.array([losses.get(task, np.nan) for task in self.tasks])
        seen = ~np.isnan(means)
        self._means[0, seen] = self._means[1, seen]
        self._means[1, seen] = means[seen]
        return super().end_epoch(losses)

    def state_dict(self) -> dict[str, Tensor]:
        """`means` (2, T)."""
        return {"means": torch.from_numpy(self._means.copy())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self._means = state["means"].numpy().copy()
