"""The seam between task losses and one gradient: what a balancing method must do."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainables.balancing.conflict import Conflict
from trainables.balancing.gradients import gramian_of_features, task_gradients
from trainables.balancing.step import Step

CONFLICT_EVERY = 50
"""Methods that need no gradients of single tasks look at them in every 50th step, the first of an epoch too."""


class NoWeights(Exception):  # noqa: N818 - named for what happened
    """A method has no weights for this step: its solver did not converge, or its problem has no solution."""


class Balancer(ABC):
    """Turns the task losses of a step into one gradient.

    A method is one subclass in one file. Its state must be determined by the steps it has seen, equal on
    every worker, and complete in `state_dict`. Called in this order: `start_epoch`, then for each step
    `backward` and (after the optimizer) `after_step`, then `end_epoch`. State moves in `after_step` and in
    `end_epoch` only: `backward` may be called again for `step.again()`, at other parameters, and the last call
    counts; `after_step` is told the first look.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self.conflict = Conflict(self.tasks)
        self._position = {task: index for index, task in enumerate(self.tasks)}
        self._fell_back = False
        self._fallbacks = 0

    @abstractmethod
    def backward(self, step: Step) -> None:
        """Leave in every parameter's `.grad` its gradient over the global batch, reduced over workers.

        Only `step.backward` and `step.write_gradients` may set `.grad`: they keep the memory layout of the
        parameter, which the optimizers rely on.
        """

    def start_epoch(self, epoch: int) -> None:  # noqa: B027 a hook that most methods do not need
        """`epoch` epochs are finished; the next one begins."""

    def after_step(self, step: Step) -> None:
        """The optimizer has stepped on what `backward` left."""
        self.conflict.count()
        self._fallbacks += self._fell_back

    def end_epoch(self, losses: Mapping[str, float]) -> Mapping[str, float]:
        """Mean training loss of the epoch by task: global, weighted by counts; unlabelled tasks absent.

        Returns what the method has to report of the epoch, for `EpochReport.training`; equal on every worker.
        `fallbacks`, if any: steps for which the method had no weights, and equal ones were used.
        """
        fallbacks, self._fallbacks = self._fallbacks, 0
        return {**self.conflict.report(), **({"fallbacks": float(fallbacks)} if fallbacks else {})}

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as CPU tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, but was given {sorted(state)}")

    def present(self, step: Step) -> NDArray[np.intp]:
        """Positions, among all tasks, of those that are in `step`: (T,)."""
        return np.array([self._position[task] for task in step.tasks], dtype=np.intp)

    def sharing(self, step: Step) -> NDArray[np.bool_]:
        """Which of the tasks of `step` share anything with others: (T,). The rest follow their own losses.

        Their gradients at what is shared are zero, beside which MGDA, for one, would see nothing else.
        """
        tasks = step.model.sharing_tasks()
        return np.array([task in tasks for task in step.tasks])

    def usable(self, weights: Sequence[float] | NDArray[np.float64] | None, tasks: int) -> list[float]:
        """The weights as they are; equal ones (1/T) where there are none or one is not finite."""
        found = [math.nan] if weights is None else [float(weight) for weight in weights]
        self._fell_back = not all(map(math.isfinite, found))
        return [1 / tasks] * tasks if self._fell_back else found


class LossBalancer(Balancer):
    """A method that weighs losses: weights first, then one backward pass, heads included."""

    @abstractmethod
    def task_weights(self, step: Step) -> Sequence[float] | NDArray[np.float64]:
        """Weights of `step.tasks`, equal on every worker. `step.mean_losses()` costs one collective.

        Raises:
            NoWeights: there are none.
        """

    def backward(self, step: Step) -> None:
        """∇ Σ_t w_t L_t, with w_t constant."""
        if step.index % CONFLICT_EVERY == 0 and len(step.tasks) > 1:
            self._look_at_conflict(step)
        try:
            weights = self.task_weights(step)
        except NoWeights:
            step.backward(self.usable(None, len(step.tasks)))
        else:
            step.backward(self.usable(weights, len(step.tasks)))
        step.reduce_gradients()

    def _look_at_conflict(self, step: Step) -> None:
        """Cosines at the features, which cost heads only; where tasks share none there are no cheap ones."""
        if step.features and step.model.shares_features:
            rows = task_gradients(step, step.features, retain_graph=True)
            self.conflict.look(gramian_of_features(step, rows), self.present(step))
