"""timm's networks as backbones. timm is an extra: `pip install equipoise[timm]`."""

import difflib
import inspect
from typing import Any

from torch import nn

from trainables.config.model import NamedBackbone
from trainables.errors import ModelError
from trainables.model.weights import Normalisation

KEY = "model.backbone"


def build_timm(
    config: NamedBackbone, *, channels: int, image_size: tuple[int, int], published: bool, load: bool = True
) -> tuple[nn.Module, Normalisation | None]:
    """The network without its classifier, and what its published weights expect of images.

    Networks made for one image size are built for `image_size`. `load`: whether published weights are loaded.

    Raises:
        ModelError: timm is not installed, knows no such network, or cannot build it or have its weights.
    """
    try:
        import timm
    except ImportError as error:
        raise ModelError(
            f"{config.name} needs timm, which is not installed.",
            hint="Run `pip install equipoise[timm]` (on every node).",
            key=KEY,
        ) from error
    name = config.name.removeprefix("timm:")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 1)
        guess = f"Did you mean timm:{near[0]}?" if near else "timm.list_models() lists what there is."
        raise ModelError(f"timm {timm.__version__} has no {name!r}.", hint=guess, key=KEY)
    arguments: dict[str, Any] = dict(config.arguments)
    expected = timm.get_pretrained_cfg(name)
    if expected is not None and expected.fixed_input_size:
        arguments.setdefault("img_size", image_size)
    try:
        net: nn.Module = timm.create_model(name, num_classes=0, in_chans=channels, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        builder = timm.model_entrypoint(name)
        raise ModelError(
            f"{config.name} cannot be built with {arguments or 'no arguments'}: {error}",
            hint=f"See what timm's {inspect.unwrap(builder).__name__} takes.",
            key=f"{KEY}.arguments",
        ) from error
    if not published:
        return net, None
    if expected is None or not expected.has_weights:
        raise ModelError(
            f"There are no published weights for {config.name}.",
            hint="Use `weights: null` or name a safetensors file.",
            key="model.weights",
        )
    try:
        if load:
            timm.models.load_pretrained(net, expected.to_dict(), num_classes=0, in_chans=channels)
    except Exception as error:  # the network's, the hub's and files' errors have nothing in common
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"The published weights of {config.name} cannot be had: {reason}.",
            hint="See that this machine reaches huggingface.co, name a safetensors file, or use `weights: null`.",
            key="model.weights",
        ) from error
    return net, (tuple(expected.mean), tuple(expected.std))
