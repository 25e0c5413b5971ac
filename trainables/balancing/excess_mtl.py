"""Weights from excess risks."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.balancing.balancer import Balancer
from trainables.balancing.gradients import gramian_of_rows, shared_rows, write_vector
from trainables.balancing.step import Step


class ExcessMTL(Balancer):
    """ExcessMTL (He et al., ICML 2024, eq. 6, 7 and 9): w ← w·exp(η E/E₁), normalised to sum 1.

    E_t = g_tᵀ diag(Σ g_t²)^(-½) g_t estimates how far task t is from its optimum, E₁ its first value (whose
    ratio is therefore 1; the official code takes the first E itself, which depends on the losses' scale).
    The accumulated squares are T·P numbers of state. Tasks that are not in a step keep their weight.
    """

    def __init__(self, tasks: Sequence[str], step_size: float) -> None:
        super().__init__(tasks)
        self.step_size = step_size
        self._logits = np.zeros(len(tasks))
        self._first = np.zeros(len(tasks))  # 0: not seen yet
        self._squares: Tensor | None = None
        self._next: tuple[NDArray[np.float64], NDArray[np.float64], list[int], Tensor] | None = None

    def backward(self, step: Step) -> None:
        """Σ_t w_t g_t at the shared parameters; heads follow their own losses."""
        shared, matrix_TP = shared_rows(step)
        present = self.present(step)
        self.conflict.look(gramian_of_rows(matrix_TP), present)
        if self._squares is None:
            self._squares = matrix_TP.new_zeros((len(self.tasks), matrix_TP.shape[1]))
        positions = present.tolist()
        squares_TP = self._squares.to(matrix_TP)[positions] + matrix_TP.square()
        roots = squares_TP.sqrt()
        risks = torch.where(roots > 0, matrix_TP.square() / roots, torch.zeros_like(roots)).sum(1)
        excess = risks.double().cpu().numpy()
        first = self._first.copy()
        first[present] = np.where(first[present] > 0, first[present], excess)
        with np.errstate(all="ignore"):  # `usable` sees what is not finite
            ratios = np.divide(excess, first[present], out=np.ones_like(excess), where=first[present] > 0)
            logits = self._logits.copy()
            logits[present] += self.step_size * ratios
            own = np.exp(logits[present] - logits[present].max())
            weights = self.usable(own / own.sum(), len(positions))
        write_vector(step, shared, matrix_TP.new_tensor(weights) @ matrix_TP)
        step.weights = dict(zip(step.tasks, weights, strict=True))
        self._next = (logits, first, positions, squares_TP)

    def after_step(self, step: Step) -> None:
        """Squares and weights move."""
        super().after_step(step)
        if self._next is not None and self._squares is not None and not self._fell_back:
            self._logits, self._first, positions, squares_TP = self._next
            self._squares = self._squares.to(squares_TP)
            self._squares[positions] = squares_TP
        self._next = None

    def state_dict(self) -> dict[str, Tensor]:
        """`logits` and `first` (T,), `squares` (T, P)."""
        state = {
            "logits": torch.from_numpy(self._logits.copy()),
            "first": torch.from_numpy(self._first.copy()),
        }
        if self._squares is not None:
            state["squares"] = self._squares.detach().cpu().clone()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`."""
        self._logits, self._first = state["logits"].numpy().copy(), state["first"].numpy().copy()
        self._squares = state["squares"].clone() if "squares" in state else None
