"""Functions of all losses, whose derivatives are the weights: geometric mean and smooth Tchebycheff."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torchjd import scalarization

from trainables.balancing.balancer import LossBalancer, NoWeights
from trainables.balancing.step import Step


def derivatives(scalarizer: scalarization.Scalarizer, values_T: Tensor) -> Tensor:
    """∂ scalarizer / ∂ values, (T,)."""
    with torch.enable_grad():
        values = values_T.detach().requires_grad_()
        (found,) = torch.autograd.grad(scalarizer(values), values)
    return found


def positive_losses(step: Step) -> Tensor:
    """L_t (T,), which have logarithms.

    Raises:
        NoWeights: one has none.
    """
    losses = step.mean_losses()
    if bool((losses <= 0).any()):
        raise NoWeights("a loss is not positive and has no logarithm")
    return losses


class GeometricMean(LossBalancer):
    """Geometric loss strategy (Chennupati et al., CVPR Workshops 2019): (Π_t L_t)^(1/T), by TorchJD.

    Computed through logarithms: the product of many small losses would underflow.
    """

    def task_weights(self, step: Step) -> Sequence[float]:
        """(Π L)^(1/T) / (T·L_t)."""
        weights: list[float] = derivatives(scalarization.GeometricMean(), positive_losses(step)).tolist()
        return weights


class STCH(LossBalancer):
    """Smooth Tchebycheff for deep multi-task learning (Lin et al., ICML 2024, section 4), by TorchJD.

    Σ_t log L_t for `warmup_epochs`, then μ log Σ_t exp(log(L_t/z_t)/μ) with z_t the mean loss of the last
    epoch of warm-up: how far each task has come since. The step does not depend on the losses' scale. A task
    that had no label in that epoch takes the mean of the first epoch in which it has one.
    """

    def __init__(self, tasks: Sequence[str], mu: float, warmup_epochs: int) -> None:
        super().__init__(tasks)
        self.mu = mu
        self.warmup_epochs = warmup_epochs
        self._nadir = np.full(len(tasks), np.nan)
        self._epochs = 0

    def task_weights(self, step: Step) -> Sequence[float]:
        """Derivatives by L_t, through log L_t."""
        losses = positive_losses(step)
        nadir = torch.from_numpy(self._nadir[self.present(step)])
        if self._epochs < self.warmup_epochs:
            inverse: list[float] = (1 / losses).tolist()
            return inverse
        logs = (losses / torch.where(nadir.isnan(), losses, nadir)).log()
        smooth = scalarization.STCH(self.mu, weights=torch.ones_like(logs))
        weights: list[float] = (derivatives(smooth, logs) / losses).tolist()
        return weights

    def end_epoch(self, losses: Mapping[str, float]) -> Mapping[str, float]:
        """At the end of warm-up the means become z."""
        self._epochs += 1
        if self._epochs >= self.warmup_epochs:
            means = np.array([losses.get(task, np.nan) for task in self.tasks])
            self._nadir = np.where(np.isnan(self._nadir), means, self._nadir)
        return super().end_epoch(losses)

    def state_dict(self) -> dict[str, Tensor]:
        """`nadir` (T,) and `epochs`."""
        return {"nadir": torch.from_numpy(self._nadir.copy()), "epochs": torch.tensor(self._epochs)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self._nadir = state["nadir"].numpy().copy()
        self._epochs = int(state["epochs"])
