"""The seam between task losses and one gradient: what a balancing method sees, and what it must leave."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainables.model.keyed import keyed_generator
from trainables.model.multitask import MultiTaskModel
from trainables.training.world import World

LocalSums = dict[str, Tensor]
"""By task: S_rt, the sum of this worker's losses over its labelled examples (with graph)."""


@dataclass
class Step:
    """One optimisation step, as a balancer sees it.

    T is the number of tasks with at least one label in the *global* batch; the others are not in this step
    at all. L_t = Σ_r S_rt / N_t is the loss of task t over the global batch.
    """

    seed: int
    epoch: int
    """Epochs finished before this one."""
    index: int
    """Steps done before this one in this epoch."""
    world: World
    model: MultiTaskModel
    tasks: tuple[str, ...]
    """The T tasks of this step."""
    sums: LocalSums
    """S_rt by task, with graph."""
    totals: Mapping[str, float]
    """N_t by task: the global denominators (labelled examples, or the sum of their class weights)."""
    features: tuple[Tensor, ...]
    """What all tasks read, on this worker, with graph."""
    forward: Callable[[], LocalSums]
    """Runs this batch through the model as it is now, without touching batch statistics (for FAMO)."""
    weights: dict[str, float] = field(default_factory=dict)
    """The weights that were in force, for the report; `backward` notes them."""

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator that is the same on every worker."""
        return keyed_generator(self.seed, self.epoch, self.index, "balancing", purpose)

    def mean_losses(self) -> Tensor:
        """L_t in the order of `tasks`: (T,) float64 on the CPU, detached, equal on every worker."""
        local = torch.stack([self.sums[task].detach().double() / self.totals[task] for task in self.tasks])
        return self.world.all_reduce_sum(local).cpu()

    def backward(self, weights: Sequence[float]) -> None:
        """Add this worker's part of ∇ Σ_t w_t L_t to every parameter's `.grad`; one backward pass."""
        self.weights = dict(zip(self.tasks, weights, strict=True))
        objective: Tensor | None = None
        for task, weight in self.weights.items():
            term = self.sums[task] * (weight / self.totals[task])
            objective = term if objective is None else objective + term
        if objective is not None:
            torch.autograd.backward(objective)

    def reduce_gradients(self, parameters: Sequence[nn.Parameter] | None = None) -> None:
        """Sum `.grad` over workers: of `parameters`, else of the whole model."""
        if self.world.size > 1:
            chosen = self.model.parameters() if parameters is None else parameters
            self.world.all_reduce_sum_many([p.grad for p in chosen if p.grad is not None])


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
        """Leave in every parameter's `.grad` its gradient over the global batch, reduced over workers."""

    def start_epoch(self, epoch: int) -> None:  # noqa: B027 a hook that most methods do not need
        """`epoch` epochs are finished; the next one begins."""

    def after_step(self, step: Step) -> None:  # noqa: B027
        """The optimizer has stepped on what `backward` left."""

    def end_epoch(self, losses: Mapping[str, float]) -> None:  # noqa: B027
        """Mean training loss of the epoch by task: global, weighted by counts; unlabelled tasks absent."""

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
