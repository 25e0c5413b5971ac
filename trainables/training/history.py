"""Training losses of one epoch: kept on the device, reduced over workers now and then."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from trainables.errors import TrainingError
from trainables.training.world import World

CHECKED_EVERY = 1000
"""Steps between two looks at the losses: rare enough to cost nothing, often enough to notice."""


class LossHistory:
    """S_rt of every step and task of one epoch. All workers reduce at the same steps and see the same."""

    def __init__(self, tasks: Sequence[str], world: World, epoch: int, lr: Callable[[int], float]) -> None:
        """`epoch` is 1-based; `lr` gives the learning rate of a step, for the message."""
        self._tasks = tuple(tasks)
        self._world = world
        self._epoch = epoch
        self._lr = lr
        self._pending: list[Tensor] = []
        self._zero = torch.zeros((), device=world.device)
        self._steps = 0
        self.sums = dict.fromkeys(self._tasks, 0.0)
        """Σ over all reduced steps, by task."""

    def add(self, sums: Mapping[str, Tensor]) -> None:
        """The local sums of the next step; a task that is not in it adds nothing."""
        self._pending += [sums[task].detach() if task in sums else self._zero for task in self._tasks]
        if len(self._pending) == CHECKED_EVERY * len(self._tasks):
            self.reduce()

    def reduce(self) -> None:
        """Sum over workers what has been added since.

        Raises:
            TrainingError: a loss was not finite, on every worker alike.
        """
        if not self._pending:
            return
        local = torch.stack([loss.double() for loss in self._pending]).view(-1, len(self._tasks))
        sums_ST = self._world.all_reduce_sum(local).cpu()
        self._pending.clear()
        finite = torch.isfinite(sums_ST)
        if not bool(finite.all()):
            step, task = (~finite).nonzero()[0].tolist()
            value = float(sums_ST[step, task])
            raise self._diverged(self._tasks[task], self._steps + step, value)
        self._steps += len(sums_ST)
        for task, total in zip(self._tasks, sums_ST.sum(0).tolist(), strict=True):
            self.sums[task] += total

    def _diverged(self, task: str, step: int, value: float) -> TrainingError:
        lr = self._lr(step)
        what = "not a number" if math.isnan(value) else "infinite"
        return TrainingError(
            f"The loss of task {task} is {what} at step {step + 1} of epoch {self._epoch} (lr {lr:.3g}).",
            hint="Lower training.optimizer.lr, or set training.clip_norm or a warm-up in training.schedule.",
            key="training.optimizer.lr",
        )
