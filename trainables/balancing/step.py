"""One optimisation step, as a balancing method sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.model.keyed import keyed_generator
from trainables.model.multitask import MultiTaskModel
from trainables.tasks.losses import TaskLoss
from trainables.training.world import World


@dataclass(frozen=True)
class Pass:
    """One forward pass over this worker's rows of the batch."""

    features: tuple[Tensor, ...]
    """What all tasks read (where the model shares features), with graph; bfloat16 where the backbone
    multiplies in it."""
    logits: dict[str, Tensor]
    """By task, (b, K_t), with graph."""


@dataclass(frozen=True)
class Batch:
    """The global batch of a step, and which rows of it are this worker's.

    T is the number of tasks with at least one label in the *global* batch of B examples; the others are not
    in this step at all. Worker r has rows [start, stop).
    """

    size: int
    """B."""
    start: int
    stop: int
    counted: bool
    """False on a worker without rows, which stands in with one that must not count."""
    targets: dict[str, Tensor]
    """By task: this worker's encoded labels."""
    weights: Mapping[str, NDArray[np.float64]]
    """By task: what each of the B rows adds to the denominator, (B,); 0 without label."""
    totals: dict[str, float]
    """By task: N_t = Σ over the global batch of `weights`: positive for all T tasks."""
    complete: Mapping[str, bool]
    """By task: whether every training row has a label, which saves masking."""


@dataclass
class Step:
    """What a balancer may read and call. L_t = Σ_r S_rt / N_t is the loss of task t over the global batch."""

    seed: int
    epoch: int
    """Epochs finished before this one."""
    index: int
    """Steps done before this one in this epoch."""
    world: World
    model: MultiTaskModel
    losses: Mapping[str, TaskLoss]
    batch: Batch
    forward: Callable[[], Pass]
    """Runs the batch through the model as it is now: the same dropout masks, batch statistics tracked."""
    weights: dict[str, float] = field(default_factory=dict)
    """The weights in force, for the report: `backward` notes them, other methods set them."""

    def __post_init__(self) -> None:
        self.tasks = tuple(self.batch.targets)
        """The T tasks of this step."""
        done = self.forward()
        self.features = tuple(feature for feature in done.features if feature.requires_grad)
        """Those of the pass that something trained comes before."""
        self.logits = done.logits
        self.sums = self._sums(done.logits)
        """S_rt by task: the sum of this worker's losses over its labelled examples, with graph."""
        self._mean_losses: Tensor | None = None

    def again(self) -> "Step":
        """The same step at the parameters as they are now: same batch, same dropout masks.

        Batch statistics are used and not tracked, which the first look has done.
        """
        with self.model.untracked_statistics():
            return replace(self, weights={})

    def _sums(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch = self.batch
        sums = {
            task: self.losses[task].total(logits[task], targets, complete=batch.complete[task])
            for task, targets in batch.targets.items()
        }
        return sums if batch.counted else {task: total * 0 for task, total in sums.items()}

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator that is the same on every worker."""
        return keyed_generator(self.seed, self.epoch, self.index, "balancing", purpose)

    def mean_losses(self, sums: Mapping[str, Tensor] | None = None) -> Tensor:
        """L_t in the order of `tasks`: (T,) float64 on the CPU, detached, equal on every worker.

        One collective of T numbers, the first time. `sums`: local sums other than this step's own.
        """
        if sums is None:
            if self._mean_losses is None:
                self._mean_losses = self.mean_losses(self.sums)
            return self._mean_losses
        local_T = torch.stack([sums[task].detach().double() / self.batch.totals[task] for task in self.tasks])
        return self.world.all_reduce_sum(local_T).cpu()

    def mean_losses_now(self) -> Tensor:
        """L_t of the same batch through the model as it is now (T,): after the optimizer, what it achieved.

        The same dropout masks as before; batch statistics are used and not tracked.
        """
        with torch.no_grad(), self.model.untracked_statistics():
            return self.mean_losses(self._sums(self.forward().logits))

    def parts(self, count: int, purpose: str) -> list[tuple[dict[str, Tensor], dict[str, float]]]:
        """Local sums S and global totals N by task for `count` disjoint random parts of the global batch.

        Independent gradients from one forward pass. A task without label in a part is not in that part.
        """
        batch = self.batch
        order = torch.randperm(batch.size, generator=self.generator(purpose))
        result = []
        for rows in torch.tensor_split(order, count):
            totals = {task: float(batch.weights[task][rows.numpy()].sum()) for task in self.tasks}
            totals = {task: total for task, total in totals.items() if total > 0}
            own = rows[(rows >= batch.start) & (rows < batch.stop)] - batch.start
            own = own.to(self.world.device)
            sums = {
                task: self.losses[task].total(self.logits[task][own], batch.targets[task][own])
                for task in totals
            }
            result.append((sums, totals))
        return result

    def backward(self, weights: Sequence[float]) -> None:
        """Add this worker's part of ∇ Σ_t w_t L_t to every parameter's `.grad`: one backward pass."""
        self.weights = dict(zip(self.tasks, weights, strict=True))
        objective: Tensor | None = None
        for task, weight in self.weights.items():
            term = self.sums[task] * (weight / self.batch.totals[task])
            objective = term if objective is None else objective + term
        if objective is not None:
            torch.autograd.backward(objective)

    @torch.no_grad()
    def write_gradients(self, gradients: Mapping[nn.Parameter, Tensor]) -> None:
        """Replace the `.grad` of these parameters; the tensors given are copied, whatever their layout.

        The optimizers' kernels walk through memory: they pair up the wrong numbers of a channels_last parameter
        and a contiguous gradient. Here every gradient gets the layout of its parameter.
        """
        for parameter, gradient in gradients.items():
            parameter.grad = torch.empty_like(parameter).copy_(gradient)

    def reduce_gradients(self, parameters: Sequence[nn.Parameter] | None = None) -> None:
        """Sum `.grad` over workers: of `parameters`, else of the whole model. One collective."""
        if self.world.size > 1:
            chosen = self.model.parameters() if parameters is None else parameters
            self.world.all_reduce_sum_many([p.grad for p in chosen if p.grad is not None])
