"""Methods that need the inner products of the tasks' gradients and nothing else of them."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.balancing.balancer import Balancer, NoWeights
from trainables.balancing.gradients import (
    combined,
    gramian_of_features,
    gramian_of_rows,
    shared_rows,
    task_gradients,
    write_vector,
)
from trainables.balancing.step import Step
from trainables.model.keyed import derived_seed

Array = NDArray[np.float64]
NOTHING = 1e-12
"""Relative length of a gradient that is the rounding error of numbers that cancel."""


@dataclass(frozen=True)
class Gradients:
    """What a weighting knows of the gradients of T tasks; the same on every worker."""

    gramian_TT: Array  # noqa: N815 the field's capitals
    """Their inner products, divided by the trace: no method has to guess what is small."""
    scale: float
    """The trace."""
    present: NDArray[np.intp]
    """(T,) which of all tasks these are."""
    random: np.random.Generator
    """Draws for this step."""
    losses: Array
    """(T,) L_t where `Weighting.needs_losses`, else empty."""


def without_rounding_errors(gramian_TT: Array) -> Array:
    """The same with gradients that are `NOTHING` beside the longest taken for zero: their direction is noise."""
    norms = np.sqrt(np.maximum(np.diag(gramian_TT), 0))
    kept = norms > NOTHING * norms.max()
    cleaned: Array = np.where(np.outer(kept, kept), gramian_TT, 0.0)
    return cleaned


class Weighting(ABC):
    """From the inner products of the tasks' gradients to their weights."""

    needs_losses = False
    """Losses cost a collective."""

    @abstractmethod
    def weigh(self, gradients: Gradients) -> Array:
        """Weights (T,); no state moves.

        Raises:
            NoWeights: the problem has no solution, or none was found.
            LinAlgError: eigenvalues or singular values were not found, which is the same to the step.
        """

    def advance(self) -> None:  # noqa: B027 a hook for methods with state
        """The step was made with the weights of the last `weigh`."""

    def state_dict(self) -> dict[str, Tensor]:
        """What the next weights depend on."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, but was given {sorted(state)}")


class GramianBalancer(Balancer):
    """Σ_t w_t g_t for what tasks share, with the weights of a `Weighting`; heads follow their own losses.

    A task that shares nothing is told to no weighting and weighs 1.
    """

    def __init__(self, tasks: Sequence[str], weighting: Weighting, *, at_features: bool) -> None:
        super().__init__(tasks)
        self.weighting = weighting
        self.at_features = at_features

    def backward(self, step: Step) -> None:
        """At features: T head backwards and one trunk backward. At parameters: T backwards."""
        if self.at_features:
            rows = task_gradients(step, step.features, heads=True)
            weights = self._weights(step, gramian_of_features(step, rows))
            torch.autograd.backward(step.features, combined(weights, rows))
            step.reduce_gradients()
        else:
            shared, matrix_TP = shared_rows(step)
            weights = self._weights(step, gramian_of_rows(matrix_TP))
            write_vector(step, shared, matrix_TP.new_tensor(weights) @ matrix_TP)
        step.weights = dict(zip(step.tasks, weights, strict=True))

    def _weights(self, step: Step, gramian_TT: Array) -> list[float]:
        self.conflict.look(gramian_TT, self.present(step))
        some = self.sharing(step)
        present = self.present(step)[some]
        gramian_TT = gramian_TT[np.ix_(some, some)]
        scale = float(np.trace(gramian_TT))
        losses = step.mean_losses().numpy()[some] if self.weighting.needs_losses else np.empty(0)
        found: Array | None = None
        if some.any() and np.isfinite(scale):
            random = derived_seed(step.seed, step.epoch, step.index, "balancing", "weighting")
            gradients = Gradients(
                without_rounding_errors(gramian_TT / scale) if scale > 0 else gramian_TT,
                scale,
                present,
                np.random.default_rng(random),
                losses,
            )
            with (
                contextlib.suppress(NoWeights, np.linalg.LinAlgError),  # eigenvalues may not converge
                np.errstate(all="ignore"),
            ):  # `usable` sees what is not finite
                found = self.weighting.weigh(gradients)
        weights = torch.ones(len(some), dtype=torch.float64)
        if some.any():
            weights[torch.from_numpy(some)] = weights.new_tensor(self.usable(found, len(present)))
        # Kinds of CPU may differ in the last bits; the first worker's weights are everyone's.
        if step.world.size > 1:
            weights = step.world.broadcast(weights.to(step.world.device)).cpu()
        result: list[float] = weights.tolist()
        return result

    def after_step(self, step: Step) -> None:
        """State moves now."""
        super().after_step(step)
        self.weighting.advance()

    def state_dict(self) -> dict[str, Tensor]:
        """That of the weighting."""
        return self.weighting.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self.weighting.load_state_dict(state)
