"""The gradients of single tasks, at the features that all tasks read or at the parameters that they share.

Both are over the global batch: g_t = Σ_r ∇S_rt / N_t. At the features, the rows of examples of different
workers are disjoint, so that inner products of whole gradients are sums of local ones: T² numbers are
reduced. At the parameters the gradients themselves are summed first, T·P numbers: Gramians of local
gradients do not add up. (T tasks, P shared parameters, F numbers in this worker's features.)
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.balancing.step import Step
from trainables.model.multitask import MultiTaskModel

Array = NDArray[np.float64]


def task_gradients(
    step: Step, at: Sequence[Tensor], *, heads: bool = False, retain_graph: bool = False
) -> list[tuple[Tensor, ...]]:
    """This worker's ∇S_rt / N_t at the tensors `at`, by task: one backward pass per task down to them.

    Args:
        step: after its forward pass.
        at: tensors of the graph; where a task does not depend on one, its gradient is zero.
        heads: also write `.grad` of the parameters of single tasks, not yet reduced.
        retain_graph: the graph below `at` is needed again. Above features it is never shared.
    """
    rows = []
    for task in step.tasks:
        own = step.model.task_parameters(task) if heads else []
        total = step.sums[task]
        found = torch.autograd.grad(
            total,
            [*at, *own],
            grad_outputs=torch.full_like(total, 1 / step.batch.totals[task]),
            retain_graph=retain_graph or task != step.tasks[-1],
            materialize_grads=True,
        )
        rows.append(found[: len(at)])
        step.write_gradients(dict(zip(own, found[len(at) :], strict=True)))
    return rows


def wide(tensor: Tensor) -> Tensor:
    """In at least fp32: sums over bf16 numbers would lose too much."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def as_matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """(T, n): every row's tensors, flattened and concatenated."""
    length = sum(part.numel() for part in rows[0])
    matrix_Tn = wide(rows[0][0]).new_empty((len(rows), length))
    for own, row in zip(matrix_Tn, rows, strict=True):
        torch.cat([wide(part).reshape(-1) for part in row], out=own)
    return matrix_Tn


def combined(weights: Sequence[float], rows: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Σ_t w_t g_t, in the shapes, layouts and types of the rows' tensors."""
    result = []
    for parts in zip(*rows, strict=True):
        total = wide(parts[0]) * weights[0]
        for weight, part in zip(weights[1:], parts[1:], strict=True):
            total.add_(wide(part), alpha=weight)
        result.append(total.to(parts[0].dtype))
    return result


def gramian_of_features(step: Step, rows: Sequence[Sequence[Tensor]]) -> Array:
    """⟨g_t, g_u⟩ over the features of the whole batch (T, T), equal on every worker: T² numbers are sent."""
    matrix_TF = as_matrix(rows)
    local = (matrix_TF @ matrix_TF.T).double()
    gramian: Array = step.world.all_reduce_sum(local).cpu().numpy()
    return gramian


def reduced_rows(step: Step, rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """g_t over the global batch, (T, P), equal on every worker: T·P numbers are sent."""
    return step.world.all_reduce_sum(as_matrix(rows))


def shared_rows(step: Step) -> tuple[list[nn.Parameter], Tensor]:
    """The shared parameters and g_t there, (T, P), reduced; heads get their own gradients, reduced as well."""
    shared = step.model.shared_parameters()
    matrix_TP = reduced_rows(step, task_gradients(step, shared, heads=True))
    step.reduce_gradients([p for task in step.tasks for p in step.model.task_parameters(task)])
    return shared, matrix_TP


def gramian_of_rows(matrix_TP: Tensor) -> Array:
    """⟨g_t, g_u⟩ of reduced rows: (T, T)."""
    gramian: Array = (matrix_TP @ matrix_TP.T).double().cpu().numpy()
    return gramian


def write_vector(step: Step, parameters: Sequence[nn.Parameter], vector_P: Tensor) -> None:
    """A vector of P numbers becomes the gradients of `parameters`."""
    parts = torch.split(vector_P, [p.numel() for p in parameters])
    step.write_gradients({p: part.view(p.shape) for p, part in zip(parameters, parts, strict=True)})


def last_shared_layer(model: MultiTaskModel) -> list[nn.Parameter]:
    """The weight of the last layer that all tasks share, in the order in which the model was built; or none."""
    matrices = [p for p in model.common_parameters() if p.dim() > 1]
    return matrices[-1:]
