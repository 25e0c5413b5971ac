"""The seam between task losses and one gradient: what a balancing method must do."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from trainables.balancing.step import Step


class Balancer(ABC):
    """Turns the task losses of a step into one gradient.

    A method is one subclass in one file. Its state must be determined by the steps it has seen, equal on
    every worker, and complete in `state_dict`. Called in this order: `start_epoch`, then for each step
    `backward` and (after the optimizer) `after_step`, then `end_epoch`.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)

    @abstractmethod
    def backward(self, step: Step) -> None:
        """Leave in every parameter's `.grad` its gradient over the global batch, reduced over workers.

        Only `step.backward` and `step.write_gradients` may set `.grad`: they keep the memory layout of the
        parameter, which the optimizers rely on.
        """

    def start_epoch(self, epoch: int) -> None:  # noqa: B027 a hook that most methods do not need
        """`epoch` epochs are finished; the next one begins."""

    def after_step(self, step: Step) -> None:  # noqa: B027
        """The optimizer has stepped on what `backward` left."""

    def end_epoch(self, losses: Mapping[str, float]) -> Mapping[str, float]:
        """Mean training loss of the epoch by task: global, weighted by counts; unlabelled tasks absent.

        Returns what the method wants to report of the epoch, for `EpochReport.training`; equal on every worker.
        """
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as CPU tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, but was given {sorted(state)}")


class LossBalancer(Balancer):
    """A method that needs no gradients of single tasks: weights first, then one backward pass."""

    @abstractmethod
    def task_weights(self, step: Step) -> Sequence[float]:
        """Weights of `step.tasks`, equal on every worker. `step.mean_losses()` costs one collective."""

    def backward(self, step: Step) -> None:
        """∇ Σ_t w_t L_t, with w_t constant."""
        step.backward(self.task_weights(step))
        step.reduce_gradients()
