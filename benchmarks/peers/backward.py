"""How others make the gradients of several tasks: by hand, and by TorchJD's `mtl_backward`."""

from collections.abc import Callable

import torch
from torchjd.aggregation import MGDA, Aggregator, PCGrad, UPGrad
from torchjd.autojac import jac_to_grad, mtl_backward

from trainables.balancing.balancer import Balancer
from trainables.balancing.from_torchjd import NonnegativeProjector
from trainables.balancing.step import Step

AGGREGATORS: dict[str, Callable[[], Aggregator]] = {
    "mgda": MGDA,
    "pcgrad": PCGrad,
    "upgrad": lambda: UPGrad(projector=NonnegativeProjector()),
}


class ByHand(Balancer):
    """Two backward passes and a rule on their flattened gradients (PCGrad's), as one writes it for one process."""

    def backward(self, step: Step) -> None:
        """`.grad` of every parameter."""
        shared = list(step.model.shared_parameters())
        losses = [step.sums[task] / step.batch.totals[task] for task in step.tasks]
        rows = []
        for task, loss in zip(step.tasks, losses, strict=True):
            own = list(step.model.task_parameters(task))
            found = torch.autograd.grad(loss, [*shared, *own], retain_graph=True)
            rows.append(torch.cat([g.reshape(-1) for g in found[: len(shared)]]))
            for parameter, gradient in zip(own, found[len(shared) :], strict=True):
                parameter.grad = gradient
        a, b = rows
        product = a @ b
        if product < 0:
            a, b = a - product / (b @ b) * b, b - product / (a @ a) * a
        mixed = torch.split(a + b, [p.numel() for p in shared])
        for parameter, gradient in zip(shared, mixed, strict=True):
            parameter.grad = gradient.view(parameter.shape)
        step.weights = dict.fromkeys(step.tasks, 1.0)


class MtlBackward(Balancer):
    """TorchJD's own backward, which holds the whole Jacobian of the shared parameters."""

    def __init__(self, tasks: tuple[str, ...], method: str) -> None:
        super().__init__(tasks)
        self._aggregator = AGGREGATORS[method]()

    def backward(self, step: Step) -> None:
        """`.grad` of every parameter."""
        shared = list(step.model.shared_parameters())
        losses = [step.sums[task] / step.batch.totals[task] for task in step.tasks]
        own = [list(step.model.task_parameters(task)) for task in step.tasks]
        mtl_backward(losses, features=step.features, tasks_params=own, shared_params=shared)
        jac_to_grad(shared, self._aggregator)
        step.weights = dict.fromkeys(step.tasks, 1.0)
