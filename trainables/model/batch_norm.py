"""Batch normalisation whose statistics are those of the global batch.

`nn.SyncBatchNorm` refuses CPU tensors; this one runs wherever the collectives of `World` do.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.errors import ModelError
from trainables.model.keyed import StepContext
from trainables.training.world import World


class _GlobalNormalisation(torch.autograd.Function):
    """γ (x - mean) / √(var + ε) + β over the rows of all workers, differentiated through the shared statistics.

    Each worker sends its count, its mean and its variance around that mean (Chan et al., 1983: exact where
    Σx² - n·mean² cancels); one collective forward, one backward. Between them torch's own kernels work, which
    normalise by given statistics; what their gradient lacks is that the statistics depend on x.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        world: World,
        eps: float,
        counted: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, own_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        count = x.numel() // x.shape[1] if counted else 0
        own = torch.cat([mean.new_full((1,), count), mean, own_variance]).double()
        count_W, mean_WC, variance_WC = world.all_gather_rows(own[None], [1] * world.size).tensor_split(
            (1, 1 + len(mean)), dim=1
        )
        total = count_W.sum()
        global_mean = (count_W * mean_WC).sum(0) / total
        variance = (count_W * (variance_WC + (mean_WC - global_mean).square())).sum(0) / total
        statistics = global_mean.to(x.dtype), variance.to(x.dtype)
        normalised = functional.batch_norm(x, *statistics, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, *statistics, total)
        ctx.world, ctx.eps, ctx.counted = world, eps, counted
        ctx.mark_non_differentiable(global_mean, variance, total)
        return normalised, global_mean, variance, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, total = ctx.saved_tensors
        out, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        if not ctx.counted:
            out.zero_(), of_weight.zero_(), of_bias.zero_()
        sums = ctx.world.all_reduce_sum(torch.stack([of_bias, of_weight])) / total.to(x.dtype)
        if ctx.counted:
            shape = (1, -1, *([1] * (x.dim() - 2)))
            inverse = (variance + ctx.eps).rsqrt()
            scale = inverse if weight is None else inverse * weight
            out.addcmul_(x - mean.view(shape), (-scale * inverse * sums[1]).view(shape))
            out.sub_((scale * sums[0]).view(shape))
        return (
            out,
            None if weight is None else of_weight,
            None if weight is None else of_bias,
            None,
            None,
            None,
        )


class GlobalBatchNorm(_BatchNorm):
    """nn.BatchNorm1d, 2d or 3d with statistics over all workers; the same parameters and buffers.

    Gradients of weight and bias are those of this worker's rows, to be summed like all others.
    """

    def __init__(self, original: _BatchNorm, world: World, context: StepContext) -> None:
        super().__init__(
            original.num_features,
            original.eps,
            original.momentum,
            affine=False,
            track_running_stats=original.track_running_stats,
        )
        self.affine = original.affine
        self.weight, self.bias = original.weight, original.bias
        self.running_mean, self.running_var = original.running_mean, original.running_var
        self.num_batches_tracked = original.num_batches_tracked
        self.world = world
        self.context = context
        self.train(original.training)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 torch's name
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, C, ...)."""
        if not self.training:
            evaluated: Tensor = super().forward(x)
            return evaluated
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        context = self.context
        counted = not context.padding
        rows = context.stop - context.start if counted else 1
        # Known without asking the device, and alike on every worker.
        if x.numel() // x.shape[1] * context.size < 2 * rows:
            raise ValueError(f"expected more than 1 value per channel when training, got {tuple(x.shape)}")
        out, mean, variance, total = _GlobalNormalisation.apply(
            wide, self.weight, self.bias, self.world, self.eps, counted
        )
        if self.track_running_stats:
            self._track(mean, variance, total)
        result: Tensor = out.to(x.dtype)
        return result

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        if self.num_batches_tracked is None or self.running_mean is None or self.running_var is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (total / (total - 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


def use_global_batch_norm(model: nn.Module, world: World, context: StepContext) -> None:
    """Let every batch normalisation in `model` see the global batch, in place. One worker needs nothing.

    Raises:
        ModelError: a layer is derived from torch's and may compute something else.
    """
    if world.size == 1:
        return
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            model.set_submodule(path, GlobalBatchNorm(module, world, context))
        elif isinstance(module, _BatchNorm):
            raise ModelError(
                f"{path} is a {type(module).__name__}: its statistics cannot be taken over several workers.",
                hint="Train it with one worker per trial, or build the backbone with nn.BatchNorm layers.",
                key="model.backbone",
            )
