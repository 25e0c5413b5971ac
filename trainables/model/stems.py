"""Small stems: networks made for 224×224 images that keep the resolution of small ones."""

import torch
from torch import Tensor, nn

from trainables.errors import ModelError

KEY = "model.backbone.stem"
LARGEST_KERNEL = 3


def make_stem_small(name: str, net: nn.Module) -> str:
    """Let the first convolution see every pixel and drop the max-pooling that follows it.

    It becomes at most 3×3 (the centre of its weights) with stride 1, as He et al. (CVPR 2016, section 4.2) have
    it for CIFAR-10, so that the following layers see four times as many rows and columns.

    Returns:
        The name of its weight.

    Raises:
        ModelError: the network cuts images into patches, which the layers that follow rely on.
    """
    layers = [(path, m) for path, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    convolutions = [(path, m) for path, m in layers if isinstance(m, nn.Conv2d)]
    path, first = convolutions[0] if convolutions else ("", None)
    if first is None or (first.kernel_size == first.stride and first.stride != (1, 1)) or "maxvit" in name:
        raise ModelError(
            f"{name} has no stem that could be small: it cuts images into patches or windows.",
            hint="Use `stem: published`, a smaller patch among `arguments`, or a convolutional network.",
            key=KEY,
        )
    if first.stride != (1, 1):
        after = layers[layers.index((path, first)) + 1]
        if isinstance(after[1], nn.MaxPool2d):
            _replace(net, after[0], nn.Identity())
    kernel = [min(side, LARGEST_KERNEL) for side in first.kernel_size]
    small = nn.Conv2d(
        first.in_channels,
        first.out_channels,
        (kernel[0], kernel[1]),
        padding=((kernel[0] - 1) // 2, (kernel[1] - 1) // 2),
        groups=first.groups,
        bias=first.bias is not None,
    )
    with torch.no_grad():
        small.weight.copy_(centre_crop(first.weight, small.weight.shape))
        if first.bias is not None and small.bias is not None:
            small.bias.copy_(first.bias)
    _replace(net, path, small)
    return f"{path}.weight"


def centre_crop(weight: Tensor, shape: torch.Size) -> Tensor:
    """The centre of a convolution's weight (O, I, h, w) with the height and width of `shape`, if it is larger."""
    if weight.dim() != 4:
        return weight
    rows, columns = (max(0, have - want) // 2 for have, want in zip(weight.shape[2:], shape[2:], strict=True))
    return weight[:, :, rows : rows + shape[2], columns : columns + shape[3]]


def _replace(net: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, attribute = path.rpartition(".")
    setattr(net.get_submodule(parent), attribute, module)
