"""torchvision's classifiers as backbones. Imports torchvision, which takes seconds: only on demand."""

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from trainables.config.model import NamedBackbone
from trainables.errors import ModelError
from trainables.model.weights import Normalisation

KEY = "model.backbone"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of the images that the published weights were trained on."""


class PaddedTo(nn.Module):
    """Zero-pads images at the bottom and right to what `net` was built for."""

    def __init__(self, net: nn.Module, pad_right: int, pad_bottom: int) -> None:
        super().__init__()
        self.net = net
        self.pad_right = pad_right
        self.pad_bottom = pad_bottom

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F)."""
        features: Tensor = self.net(functional.pad(images, (0, self.pad_right, 0, self.pad_bottom)))
        return features


def build_torchvision(
    config: NamedBackbone, *, channels: int, image_size: tuple[int, int], published: bool, load: bool = True
) -> tuple[nn.Module, Normalisation | None]:
    """The classifier without its last layer, and the mean and deviation that its published weights expect.

    `published`: with torchvision's default weights, which exist for three channels; `load`: whether they are loaded,
    or only what they need is built.
    """
    name = config.name
    arguments: dict[str, Any] = dict(config.arguments)
    builder = models.get_model_builder(name)
    known = {p for p in inspect.signature(builder).parameters if p not in ("weights", "progress", "kwargs")}
    pad = (0, 0)
    if name in ("inception_v3", "googlenet"):
        arguments |= {"aux_logits": False, "init_weights": not published}
    if name.startswith("vit_"):
        patch = int(name.rsplit("_", 1)[1])
        side = math.ceil(max(image_size) / patch) * patch
        pad = (side - image_size[1], side - image_size[0])
        arguments.setdefault("image_size", side)
    if name.startswith("maxvit"):
        arguments.setdefault("input_size", image_size)
    try:
        net: nn.Module = builder(weights=None, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        takes = ", ".join(sorted(known)) or "the arguments of its base class"
        raise ModelError(
            f"{name} cannot be built with {arguments or 'no arguments'}: {error}",
            hint=f"torchvision's {name} takes {takes}.",
            key=f"{KEY}.arguments",
        ) from error
    if published:
        if load:
            net.load_state_dict(_published_weights(name, net, arguments))
        if name in ("inception_v3", "googlenet"):
            net.transform_input = True  # type: ignore[assignment]  # their weights expect inputs scaled otherwise
    remove_classifier(name, net)
    if channels != 3:
        read_channels(net, channels)
    return PaddedTo(net, *pad) if any(pad) else net, (IMAGENET_MEAN, IMAGENET_STD) if published else None


def _published_weights(name: str, net: nn.Module, arguments: dict[str, Any]) -> dict[str, Tensor]:
    """The default weights of `name`, from torchvision's cache or the network."""
    weights = models.get_model_weights(name).DEFAULT
    try:
        state: dict[str, Tensor] = dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        file, folder = weights.url.rsplit("/", 1)[1], f"{torch.hub.get_dir()}/checkpoints"
        raise ModelError(
            f"The published weights of {name} cannot be had: {error}.",
            hint=f"Put {file} into {folder}, name a safetensors file, or use `weights: null`.",
            key="model.weights",
        ) from error
    if name.startswith("vit_"):
        from torchvision.models.vision_transformer import interpolate_embeddings

        patch = int(name.rsplit("_", 1)[1])
        state = dict(interpolate_embeddings(int(arguments["image_size"]), patch, state))
    # Auxiliary classifiers are in the files of inception and googlenet, but not in our networks.
    return {
        key: value for key, value in state.items() if not key.startswith(("AuxLogits.", "aux1.", "aux2."))
    }


def remove_classifier(name: str, net: nn.Module) -> None:
    """Replace the last layer that makes logits by the identity."""
    if isinstance(net, models.SqueezeNet):  # its classifier is a convolution, then ReLU and pooling
        *_, pool = net.classifier
        net.classifier = nn.Sequential(pool)
        return
    linear = [(path, module) for path, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ModelError(f"{name} has no linear classifier that could be replaced.", key=KEY)
    path, _ = linear[-1]
    parent, _, attribute = path.rpartition(".")
    setattr(net.get_submodule(parent), attribute, nn.Identity())


def read_channels(net: nn.Module, channels: int) -> None:
    """Let the first convolution read `channels` channels instead of three.

    For one channel its weights are summed over the three, as if a grey image were repeated to RGB.
    """
    path, first = next((p, m) for p, m in net.named_modules() if isinstance(m, nn.Conv2d))
    padding: Any = first.padding
    stride: Any = first.stride
    kernel: Any = first.kernel_size
    replacement = nn.Conv2d(
        channels, first.out_channels, kernel, stride, padding, bias=first.bias is not None
    )
    with torch.no_grad():
        replacement.weight.copy_(first.weight.sum(1, keepdim=True) / channels)
        if first.bias is not None and replacement.bias is not None:
            replacement.bias.copy_(first.bias)
    parent, _, attribute = path.rpartition(".")
    setattr(net.get_submodule(parent), attribute, replacement)
