"""Floating-point operations of a forward pass.

`torch.utils.flop_counter` costs 2.3 s of import, and a dispatch mode of its own the compiler stack (1 s). A
`TorchFunctionMode` sees what is called by name and costs nothing; a test holds the counts to torch's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@torch.no_grad()
def count_flops(model: nn.Module, images: Tensor) -> int:
    """Operations of convolutions, linear layers, matrix products and attention when `model` reads `images`.

    A multiplication and its addition are two; all else counts nothing.
    """
    counter = _Counter()
    with counter:
        model(images)
    return counter.flops


class _Counter(TorchFunctionMode):
    """Adds up the operations of the torch functions that are called within it."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        multiplications = _MULTIPLICATIONS.get(getattr(func, "__name__", ""))
        if multiplications is not None:
            self.flops += 2 * multiplications(result, *args)
        return result


def _convolution(out: Tensor, images: Tensor, weight: Tensor, *_: Any) -> int:
    return out.numel() * (weight.numel() // len(weight))


def _transposed_convolution(out: Tensor, images: Tensor, weight: Tensor, *_: Any) -> int:
    return images.numel() * weight[0].numel()


def _product(out: Tensor, left: Tensor, *_: Any) -> int:
    return out.numel() * left.shape[-1]


def _attention(out: Tensor, query: Tensor, key: Tensor, *_: Any) -> int:
    return (query.numel() + out.numel()) * key.shape[-2]


def _multi_head_attention(out: object, query: Tensor, key: Tensor, value: Tensor, width: int, *_: Any) -> int:
    """Of (length, ..., width) tensors: four projections, and attention of the projected ones."""
    projections = (2 * query.numel() + key.numel() + value.numel()) * width
    return projections + 2 * query.numel() * key.shape[0]


def _einsum(out: Tensor, equation: str, *operands: Tensor) -> int:
    """Of two operands without an ellipsis: one multiplication for every combination of indices."""
    if len(operands) != 2 or "." in equation:
        return 0
    indices = equation.replace(" ", "").partition("->")[0].replace(",", "")
    lengths: list[int] = [length for operand in operands for length in operand.shape]
    return math.prod(dict(zip(indices, lengths, strict=True)).values())


_MULTIPLICATIONS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution),
    **dict.fromkeys(("linear", "matmul", "__matmul__", "mm", "bmm"), _product),
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": _multi_head_attention,
    "einsum": _einsum,
}
"""By name of the function, of its result and its arguments."""
