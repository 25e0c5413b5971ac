"""Backbones by name: images to the features that all tasks share."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.config import model as config
from trainables.errors import ModelError
from trainables.model import small
from trainables.model.stems import make_stem_small
from trainables.model.weights import Normalisation, expected_inputs, load_weights


@dataclass(frozen=True)
class Backbone:
    """A network that turns images into features, and what it expects of them."""

    net: nn.Module
    """(B, C, H, W) -> (B, F)."""
    features: int
    """F."""
    channels: int
    """C. Three where the images have one: they are repeated."""
    normalisation: Normalisation | None = None
    """Mean and standard deviation of its inputs on the [0, 1] scale; None: those of the training images."""
    missing: frozenset[str] = frozenset()
    """Tensors that `model.weights` has nothing for: of stages that no head came after in the model it is from."""


def build_backbone(
    model: config.ModelConfig,
    *,
    channels: int,
    image_size: tuple[int, int],
    base: Path | None = None,
    load: bool = True,
) -> Backbone:
    """The backbone that `model` describes for images of this shape.

    Initial weights are drawn from torch's default CPU generator. `base`: the folder that a relative
    `model.weights` starts from. `load`: whether weights are loaded; without, `channels` are those of the network whose
    tensors will take their place, and what it expects of its inputs is not known of a file.

    Raises:
        ModelError: it cannot be built, cannot read such images, or its weights cannot be loaded.
    """
    published = model.weights == "default"
    file = None if model.weights is None or published or not load else (base or Path()) / model.weights
    normalisation = None if file is None else expected_inputs(file)
    if published:
        channels = 3
    elif normalisation is not None and channels == 1:
        channels = len(normalisation[0])
    stem: str | None = None
    match model.backbone:
        case config.NamedBackbone() as named if named.is_published:
            if named.name.startswith("timm:"):
                from trainables.model.timm_backbones import build_timm as build
            else:
                from trainables.model.torchvision_backbones import build_torchvision as build
            net, expected = build(
                named, channels=channels, image_size=image_size, published=published, load=load
            )
            if named.stem == "small":
                stem = make_stem_small(named.name, net)
            features = dry_run(named.name, net, channels, image_size)
            built = Backbone(net, features, channels, expected or normalisation)
        case _ if published:
            raise ModelError(
                f"There are no published weights for {model.backbone.name}.",
                hint="Use `weights: null` or name a safetensors file.",
                key="model.weights",
            )
        case config.NamedBackbone() as named:
            net = _build_own(named, channels, image_size)
            built = Backbone(net, dry_run(named.name, net, channels, image_size), channels, normalisation)
        case config.SmallCNN(width=width):
            built = Backbone(small.SmallCNN(channels, image_size, width), width, channels, normalisation)
        case config.LeNet(width=width):
            built = Backbone(small.LeNet(channels, image_size, width), width, channels, normalisation)
        case config.SmallImageResNet(blocks=blocks, width=width):
            resnet = small.SmallImageResNet(channels, blocks, width)
            built = Backbone(resnet, resnet.out_features, channels, normalisation)
    if file is not None:
        return replace(built, missing=load_weights(built.net, file, cropped=stem))
    return built


def _build_own(named: config.NamedBackbone, channels: int, image_size: tuple[int, int]) -> nn.Module:
    """Call the user's `package.module:function`."""
    module_name, _, function_name = named.name.partition(":")
    key = "model.backbone"
    try:
        function: Callable[..., object] = getattr(importlib.import_module(module_name), function_name)
    except ImportError as error:
        raise ModelError(
            f"{module_name!r} of {key} cannot be imported: {error}.",
            hint="Install it, or put its folder on PYTHONPATH (on every node).",
            key=key,
        ) from error
    except AttributeError as error:
        raise ModelError(f"{module_name!r} has no {function_name!r}.", key=key) from error
    try:
        net = function(channels=channels, image_size=image_size, **named.arguments)
    except Exception as error:  # the user's code may raise anything
        raise ModelError(f"{named.name} failed: {type(error).__name__}: {error}", key=key) from error
    if not isinstance(net, nn.Module):
        raise ModelError(f"{named.name} returned {type(net).__name__}, not an nn.Module.", key=key)
    return net


def dry_run(name: str, net: nn.Module, channels: int, image_size: tuple[int, int]) -> int:
    """Number of features that `net` gives for images of this shape, found by trying two of them."""
    height, width = image_size
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            out: object = net(torch.zeros(2, channels, height, width))
    except Exception as error:  # whatever a network does with a size it cannot read
        enough = _readable(net, channels, max(image_size))
        raise ModelError(
            f"{name} cannot read {height}×{width} images: {error}",
            hint=f"Set data.image_size to {enough}, or use another backbone.",
            key="model.backbone",
        ) from error
    finally:
        net.train(training)
    if not isinstance(out, Tensor) or out.dim() != 2 or out.shape[0] != 2:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        read = (2, channels, height, width)
        raise ModelError(
            f"{name} must turn {read} images into (2, F) features, but gives {shape}.",
            key="model.backbone",
        )
    return out.shape[1]


def _readable(net: nn.Module, channels: int, side: int) -> str:
    """The next usual image size that `net` can read."""
    for larger in (28, 32, 48, 64, 96, 128, 224, 256, 299):
        if larger > side:
            try:
                with torch.no_grad():
                    net(torch.zeros(2, channels, larger, larger))
            except Exception:  # noqa: S112 too small as well
                continue
            return f"{larger} or more"
    return "what it is made for"
