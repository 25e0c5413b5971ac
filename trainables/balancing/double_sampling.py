"""Methods that multiply gradients of disjoint parts of a batch, so that noise does not look like length."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.balancing.balancer import Balancer
from trainables.balancing.gradients import as_matrix, gramian_of_rows, task_gradients, write_vector
from trainables.balancing.step import Step

Array = NDArray[np.float64]


def onto_simplex(vector: Array) -> Array:
    """The nearest point of the simplex (Held et al. 1974)."""
    falling = np.sort(vector - vector.max())[::-1]  # shifting changes nothing, and keeps large numbers exact
    excess = (np.cumsum(falling) - 1) / np.arange(1, len(vector) + 1)
    threshold = excess[np.nonzero(falling > excess)[0][-1]]
    projected: Array = np.maximum(vector - vector.max() - threshold, 0)
    return projected


class DoubleSampling(Balancer):
    """Weights λ on the simplex, moved by J₁J₂ᵀ of two parts of the batch that share no example.

    The parts are drawn from the global batch by its key. Where a part lacks labels of a task, λ stays for
    that step. Tasks that are not in a step, or share nothing, keep their share; the others divide what is left.
    """

    parts: int
    """Into how many the batch is divided."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.weights = np.full(len(tasks), 1 / len(tasks))
        self._next = self.weights

    @abstractmethod
    def moved(self, cross_TT: Array, weights: Array) -> Array:
        """λ (T,), summing to 1, after one step with J₁J₂ᵀ."""

    @abstractmethod
    def used(self, weights: Array, whole_TP: Tensor, last_TP: Tensor) -> tuple[Array, Tensor]:
        """The weights of the step for λ = `weights`, and whose rows they multiply: the batch's or the last part's."""

    def backward(self, step: Step) -> None:
        """`parts`·T backward passes."""
        shared = step.model.shared_parameters()
        parts = step.parts(self.parts, "parts")
        rows = [self._rows(step, shared, sums, totals) for sums, totals in parts]
        task_gradients(step, [], heads=True)
        step.reduce_gradients([p for task in step.tasks for p in step.model.task_parameters(task)])
        shares = [
            [totals.get(task, 0.0) / step.batch.totals[task] for task in step.tasks] for _, totals in parts
        ]
        whole = torch.stack(
            [row * row.new_tensor(share)[:, None] for row, share in zip(rows, shares, strict=True)]
        ).sum(0)
        present = self.present(step)
        self.conflict.look(gramian_of_rows(whole), present)
        mass = self.weights[present].sum()
        own = self.weights[present] / mass if mass > 0 else np.full(len(present), 1 / len(present))
        complete = all(len(totals) == len(step.tasks) for _, totals in parts)
        if complete:
            cross_TT = (rows[0] @ rows[1].T).double().cpu().numpy()
            some = self.sharing(step)
            part = own[some].sum()
            if not np.all(np.isfinite(cross_TT)):
                own = own * np.nan
            elif part > 0:
                with np.errstate(all="ignore"):  # `usable` sees what is not finite
                    own[some] = part * self.moved(cross_TT[np.ix_(some, some)], own[some] / part)
        own = np.asarray(self.usable(own, len(present)))
        self._next = self.weights.copy()
        if not self._fell_back:
            self._next[present] = own * mass
        used, sample_TP = self.used(own, whole, rows[-1] if complete else whole)
        write_vector(step, shared, whole.new_tensor(used) @ sample_TP)
        step.weights = dict(zip(step.tasks, used.tolist(), strict=True))

    def _rows(
        self, step: Step, shared: Sequence[Tensor], sums: Mapping[str, Tensor], totals: Mapping[str, float]
    ) -> Tensor:
        """(T, P) gradients of the mean losses of one part, reduced; zero for a task without labels in it."""
        rows: list[Sequence[Tensor]] = []
        for task in step.tasks:
            if task not in totals:
                rows.append([torch.zeros_like(p) for p in shared])
                continue
            total = sums[task]
            rows.append(
                torch.autograd.grad(
                    total,
                    list(shared),
                    grad_outputs=torch.full_like(total, 1 / totals[task]),
                    retain_graph=True,
                    materialize_grads=True,
                )
            )
        return step.world.all_reduce_sum(as_matrix(rows))

    def after_step(self, step: Step) -> None:
        """λ moves."""
        super().after_step(step)
        self.weights = self._next

    def state_dict(self) -> dict[str, Tensor]:
        """`weights` (T,)."""
        return {"weights": torch.from_numpy(self.weights.copy())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self.weights = self._next = state["weights"].numpy().copy()


class MoDo(DoubleSampling):
    """MoDo (Chen et al., NeurIPS 2023, algorithm 1): λ ← Π(λ - γ(J₁J₂ᵀ + ρ)λ) on halves of the batch.

    Departure: the step uses all of the batch, both halves, instead of a third sample of its own.
    """

    parts = 2

    def __init__(self, tasks: Sequence[str], gamma: float, rho: float) -> None:
        super().__init__(tasks)
        self.gamma = gamma
        self.rho = rho

    def moved(self, cross_TT: Array, weights: Array) -> Array:
        """One projected step."""
        return onto_simplex(weights - self.gamma * (cross_TT @ weights + self.rho * weights))

    def used(self, weights: Array, whole_TP: Tensor, last_TP: Tensor) -> tuple[Array, Tensor]:
        """λᵀJ over the whole batch."""
        return weights, whole_TP


class SDMGrad(DoubleSampling):
    """SDMGrad (Xiao et al., NeurIPS 2023, algorithm 1): MGDA regularised towards the mean, on thirds.

    `iterations` projected momentum steps on λ with J₁J₂ᵀ, which as in the official code is divided by the
    squared mean norm; the step, (λ + r/T)ᵀJ₃/(1 + r), is of the third third.
    """

    parts = 3

    def __init__(
        self, tasks: Sequence[str], regularization: float, iterations: int, step_size: float, momentum: float
    ) -> None:
        super().__init__(tasks)
        self.regularization = regularization
        self.iterations = iterations
        self.step_size = step_size
        self.momentum = momentum

    def moved(self, cross_TT: Array, weights: Array) -> Array:
        """`iterations` projected steps."""
        mean_norm = np.sqrt(np.maximum(np.diag(cross_TT), 0)).mean()
        if mean_norm == 0:
            return weights
        normal = cross_TT / mean_norm**2
        equal = np.full(len(weights), 1 / len(weights))
        velocity = np.zeros_like(weights)
        for _ in range(self.iterations):
            velocity = self.momentum * velocity + normal @ (weights + self.regularization * equal)
            weights = onto_simplex(weights - self.step_size * velocity)
        return weights

    def used(self, weights: Array, whole_TP: Tensor, last_TP: Tensor) -> tuple[Array, Tensor]:
        """Of the third part."""
        return (weights + self.regularization / len(weights)) / (1 + self.regularization), last_TP
