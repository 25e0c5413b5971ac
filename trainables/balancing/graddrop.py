"""Sign dropout of gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.balancing.balancer import Balancer
from trainables.balancing.gradients import (
    as_matrix,
    combined,
    gramian_of_features,
    gramian_of_rows,
    shared_rows,
    task_gradients,
    wide,
    write_vector,
)
from trainables.balancing.step import Step


class GradDrop(Balancer):
    """GradDrop (Chen et al., NeurIPS 2020, algorithm 1).

    Where gradients of tasks disagree in sign, one sign is drawn with probability ½(1 + Σg/Σ|g|) for plus, and
    the gradients of the other one are multiplied by `leak`. At features every number of every example is
    drawn for; the paper adds up examples first, with the sign of the activation. `Step.weights` reports which
    share of each squared gradient was kept.
    """

    def __init__(self, tasks: Sequence[str], leak: float, *, at_features: bool) -> None:
        super().__init__(tasks)
        self.leak = leak
        self.at_features = at_features

    def backward(self, step: Step) -> None:
        """One drawn sign per number; heads follow their own losses."""
        if self.at_features:
            rows = task_gradients(step, step.features, heads=True)
            self.conflict.look(gramian_of_features(step, rows), self.present(step))
            kept = [
                self._kept(torch.stack(z), self._draws(step, z[0], at))
                for at, z in enumerate(zip(*rows, strict=True))
            ]
            masked = [tuple(part[t] for part in kept) for t in range(len(rows))]
            torch.autograd.backward(step.features, combined([1.0] * len(rows), masked))
            step.reduce_gradients()
            before, after = as_matrix(rows), as_matrix(masked)
            shares = torch.stack([(before * after).sum(1), (before * before).sum(1)]).double()
            shares = step.world.all_reduce_sum(shares)
        else:
            shared, matrix_TP = shared_rows(step)
            self.conflict.look(gramian_of_rows(matrix_TP), self.present(step))
            draws = torch.rand(matrix_TP.shape[1], dtype=torch.float64, generator=step.generator("graddrop"))
            kept_TP = self._kept(matrix_TP, draws.to(matrix_TP))
            write_vector(step, shared, kept_TP.sum(0))
            shares = torch.stack([(matrix_TP * kept_TP).sum(1), (matrix_TP * matrix_TP).sum(1)]).double()
        part, whole = shares.cpu()
        weights = torch.where(whole > 0, part / whole, torch.ones_like(part))
        step.weights = dict(zip(step.tasks, weights.tolist(), strict=True))

    def _draws(self, step: Step, local: Tensor, at: int) -> Tensor:
        """Uniform numbers for this worker's rows of a feature tensor, cut out of those for the whole batch."""
        batch = step.batch
        if not batch.counted:  # its gradients are zero
            return torch.zeros_like(wide(local))
        per_row = local.shape[0] // (batch.stop - batch.start)
        shape = (batch.size * per_row, *local.shape[1:])
        draws = torch.rand(shape, dtype=torch.float64, generator=step.generator(f"graddrop{at}"))
        own = draws[batch.start * per_row : batch.start * per_row + local.shape[0]]
        return own.to(device=local.device, dtype=wide(local).dtype)

    def _kept(self, gradients: Tensor, draws: Tensor) -> Tensor:
        """(T, ...) gradients -> what is kept of them."""
        g = wide(gradients)
        magnitude = g.abs().sum(0)
        purity = 0.5 * (1 + g.sum(0) / torch.where(magnitude > 0, magnitude, torch.ones_like(magnitude)))
        agrees = torch.where(purity > draws, g > 0, g < 0)
        kept = torch.where(agrees, g, self.leak * g)
        return kept.to(gradients.dtype)
