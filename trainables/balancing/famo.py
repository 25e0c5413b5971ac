"""Fast adaptive multitask optimization."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainables.balancing.balancer import LossBalancer, NoWeights
from trainables.balancing.step import Step
from trainables.balancing.task_adam import TaskAdam

Array = NDArray[np.float64]


class FAMO(LossBalancer):
    """FAMO (Liu et al., NeurIPS 2023, algorithm 1): weights c·z_t/L_t, z = softmax(ξ), c = 1/Σ(z/L); sum 1.

    After the step the same batch is looked at again, with the same dropout masks and without touching
    running statistics, and ξ follows how much each log-loss fell. (TorchJD's FAMO does not save the moments
    of its inner Adam.)
    """

    def __init__(self, tasks: Sequence[str], step_size: float, decay: float) -> None:
        super().__init__(tasks)
        self.logits = TaskAdam(np.zeros(len(tasks)), step_size, decay)

    def _shares(self, step: Step) -> Array:
        logits = self.logits.values[self.present(step)]
        powers = np.exp(logits - logits.max())
        shares: Array = powers / powers.sum()
        return shares

    def task_weights(self, step: Step) -> Array:
        """One collective of T numbers."""
        losses = step.mean_losses().numpy()
        if np.any(losses <= 0):
            raise NoWeights("a loss is zero and has no logarithm")
        with np.errstate(all="ignore"):  # what is not finite is seen by `usable`
            inverse = self._shares(step) / losses
            weights: Array = inverse / inverse.sum()
        return weights

    def after_step(self, step: Step) -> None:
        """A forward pass and one more collective; ξ moves."""
        super().after_step(step)
        before, after = step.mean_losses().numpy(), step.mean_losses_now().numpy()
        if np.all(before > 0) and np.all(after > 0):
            shares = self._shares(step)
            with np.errstate(all="ignore"):
                fallen = np.log(before) - np.log(after)
                gradient = shares * (fallen - shares @ fallen)  # softmax's Jacobian
            self.logits.step(gradient, self.present(step))

    def state_dict(self) -> dict[str, Tensor]:
        """ξ and its moments."""
        return self.logits.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self.logits.load_state_dict(state)
