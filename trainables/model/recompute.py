"""Less memory for more time: activations are computed again in the backward pass instead of being kept.

Chen et al., *Training deep nets with sublinear memory cost*, 2016. What is kept are the inputs of blocks. The numbers
are the same ones: layers draw by key, so they draw the same again, and running statistics count no batch twice.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from trainables.model.keyed import StepContext

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks(net: nn.Module) -> list[nn.Module]:
    """The parts of `net` to compute again: what its containers hold and has several layers of its own.

    Of containers within containers the inner ones; a chain of single layers is one block.
    """
    found: list[nn.Module] = []
    for child in net.children():
        if not _several_layers(child):
            continue
        if isinstance(child, _CONTAINERS) and any(map(_several_layers, child.children())):
            found += blocks(child)
        elif isinstance(net, _CONTAINERS) or isinstance(child, nn.Sequential):
            found.append(child)
        else:
            found += blocks(child)
    return found


def recompute_activations(net: nn.Module, context: StepContext) -> None:
    """Have every block of `net` compute its activations again in the backward pass, in place.

    Every worker does so in the same order, so what layers send each other meets. Without blocks (a chain of single
    layers keeps little else than its inputs) nothing changes.
    """
    for part in blocks(net):
        part.forward = partial(_forward, part.forward, part, context)


def _forward(original: Callable[..., Any], block: nn.Module, context: StepContext, *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return original(*inputs)
    again = _Again(block, context)
    return checkpoint(original, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), again))


class _Again:
    """A block's surroundings as they are now, to enter when it computes again: once for every backward pass.

    Running statistics move by nothing then. To switch them off would be simpler, but torch keeps other tensors
    without them, and what is computed again takes the place of what was kept by its number.
    """

    def __init__(self, block: nn.Module, context: StepContext) -> None:
        self._context = context
        self._draws = context.draws()
        norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
        self._norms = {module: module.track_running_stats for module in norms}
        self._now: list[tuple[_BatchNorm, bool, float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        self._draws_now = self._context.draws()
        self._context.go_back_to(self._draws)
        for module, tracked in self._norms.items():
            counted = module.num_batches_tracked
            self._now.append((module, module.track_running_stats, module.momentum, counted))
            module.track_running_stats, module.momentum = tracked, 0.0
            module.num_batches_tracked = None if counted is None else counted.clone()

    def __exit__(self, *_: object) -> None:
        self._context.go_back_to(self._draws_now)
        while self._now:
            module, tracked, momentum, counted = self._now.pop()
            module.track_running_stats, module.momentum = tracked, momentum
            module.num_batches_tracked = counted


def _several_layers(module: nn.Module) -> bool:
    return sum(1 for layer in module.modules() if not any(True for _ in layer.children())) > 1
