"""Fixed task weights."""

from collections.abc import Mapping, Sequence

from trainables.balancing.balancer import LossBalancer
from trainables.balancing.step import Step


class Static(LossBalancer):
    """Σ_t w_t L_t with fixed w_t, used as written; tasks not named weigh 1."""

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.weights = {task: weights.get(task, 1.0) for task in tasks}

    def task_weights(self, step: Step) -> Sequence[float]:
        """The configured weights."""
        return [self.weights[task] for task in step.tasks]
