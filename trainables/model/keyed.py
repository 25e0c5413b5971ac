"""Randomness that is keyed, never streamed.

Every draw comes from a generator seeded by a hash of what it is for: (seed, epoch, step, purpose, layer).
So there is no generator state to save, resuming is exact, and masks drawn for the global batch and sliced
make N workers equal to one.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def derived_seed(*key: int | str) -> int:
    """A 63-bit seed that depends on every part of `key`."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def keyed_generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by `key`."""
    return torch.Generator(device).manual_seed(derived_seed(*key))


@contextmanager
def drawing(*key: int | str) -> Iterator[None]:
    """Within it, torch's default CPU generator is seeded by `key`; after it, it stands where it stood."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(*key))
        yield


_CHANNEL_DROPOUTS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class StepContext:
    """Where training stands: what keyed layers need to draw the same numbers on every worker.

    One per model. The trainer calls `begin` before every forward pass in training.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.epoch = 0
        self.step = 0
        self.start = 0
        self.stop = 0
        self.size = 0
        self.padding = False
        self._calls: dict[str, int] = {}

    def begin(
        self, epoch: int, step: int, start: int, stop: int, size: int, *, padding: bool = False
    ) -> None:
        """Rows [start, stop) of a global batch of `size` examples come next, at `step` of `epoch`.

        `padding`: the only row stands in on a worker whose part of the batch is empty. It must not count.
        """
        self.epoch = epoch
        self.step = step
        self.start = start
        self.stop = stop
        self.size = size
        self.padding = padding
        self._calls.clear()

    def draws(self) -> dict[str, int]:
        """How often each layer has drawn since `begin`."""
        return dict(self._calls)

    def go_back_to(self, draws: dict[str, int]) -> None:
        """Let layers draw next what they drew after `draws` had said this."""
        self._calls = dict(draws)

    def generator(self, purpose: str, layer: str, device: torch.device) -> torch.Generator:
        """The generator of the next draw of `layer` (a layer used twice in one pass draws twice)."""
        call = self._calls.get(layer, 0)
        self._calls[layer] = call + 1
        return keyed_generator(self.seed, self.epoch, self.step, purpose, layer, call, device=device)

    def kept(self, x: Tensor, shape: tuple[int, ...], p: float, purpose: str, layer: str) -> Tensor:
        """Bernoulli(1 - p) numbers of `x`'s dtype for this worker's rows; `shape` has the rows of `x`.

        Rows are examples, or a fixed number of parts of each example (the windows of a Swin transformer).
        """
        generator = self.generator(purpose, layer, x.device)
        rows = 1 if self.padding else self.stop - self.start
        parts, rest = divmod(x.shape[0], rows)
        if rest:
            raise RuntimeError(
                f"layer {layer!r} sees {x.shape[0]} rows where the batch has {rows} examples: "
                "a backbone that mixes examples cannot draw per example"
            )
        mask = torch.empty((self.size * parts, *shape[1:]), dtype=x.dtype, device=x.device)
        mask.bernoulli_(1 - p, generator=generator)
        if rows == self.size:
            return mask
        return mask[self.start * parts : (self.start + rows) * parts]


class _KeyedLayer(nn.Module):
    """A layer that draws from the context of its model."""

    def __init__(self, p: float, context: StepContext, layer: str) -> None:
        super().__init__()
        self.p = p
        self.layer = layer
        self.context = context

    def extra_repr(self) -> str:
        return f"p={self.p}"


class KeyedDropout(_KeyedLayer):
    """Dropout (Srivastava et al., JMLR 2014), inverted: kept units are scaled by 1 / (1 - p)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...); the identity in evaluation."""
        if not self.training or self.p == 0:
            return x
        return x * self.context.kept(x, tuple(x.shape), self.p, "dropout", self.layer) * (1 / (1 - self.p))


class KeyedChannelDropout(_KeyedLayer):
    """Drops whole channels (Tompson et al., CVPR 2015), as nn.Dropout1d, 2d and 3d do."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, C, ...); the identity in evaluation."""
        if not self.training or self.p == 0:
            return x
        shape = (*x.shape[:2], *([1] * (x.dim() - 2)))
        return x * self.context.kept(x, shape, self.p, "channel_dropout", self.layer) * (1 / (1 - self.p))


class KeyedStochasticDepth(_KeyedLayer):
    """Drops a residual branch, per example or for the whole batch (Huang et al., ECCV 2016)."""

    def __init__(self, p: float, mode: str, context: StepContext, layer: str) -> None:
        super().__init__(p, context, layer)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...); the identity in evaluation."""
        if not self.training or self.p == 0:
            return x
        scale = 1 / (1 - self.p) if self.p < 1 else 1.0  # p = 1 keeps nothing: there is nothing to scale
        if self.mode == "batch":
            generator = self.context.generator("stochastic_depth", self.layer, x.device)
            return x * x.new_empty(()).bernoulli_(1 - self.p, generator=generator) * scale
        shape = (x.shape[0], *([1] * (x.dim() - 1)))
        return x * self.context.kept(x, shape, self.p, "stochastic_depth", self.layer) * scale


def use_keyed_randomness(model: nn.Module, context: StepContext, path: str = "") -> None:
    """Replace dropout and stochastic depth in `model`, in place; layers are known by their path.

    Layers derived from torch's may do something else: they stay, and `unkeyed_randomness` tells of them.
    """
    for name, child in model.named_children():
        layer = f"{path}.{name}" if path else name
        replacement: nn.Module | None = None
        if type(child) is nn.Dropout:
            replacement = KeyedDropout(child.p, context, layer)
        elif isinstance(child, _CHANNEL_DROPOUTS) and type(child) in _CHANNEL_DROPOUTS:
            replacement = KeyedChannelDropout(child.p, context, layer)
        elif (depth := _stochastic_depth(child)) is not None:
            replacement = KeyedStochasticDepth(*depth, context, layer)
        if replacement is None:
            use_keyed_randomness(child, context, layer)
        else:
            replacement.train(child.training)
            setattr(model, name, replacement)


def _stochastic_depth(module: nn.Module) -> tuple[float, str] | None:
    """P and mode of torchvision's and timm's layers, which are known by name: neither is imported for it."""
    kind: Any = module
    match f"{type(module).__module__}.{type(module).__name__}":
        case "torchvision.ops.stochastic_depth.StochasticDepth":
            return float(kind.p), str(kind.mode)
        case "timm.layers.drop.DropPath" if kind.scale_by_keep:
            return float(kind.drop_prob), "row"
    return None


def unkeyed_randomness(model: nn.Module, context: StepContext, images: Tensor) -> list[str]:
    """Paths of modules that still draw from torch's global generator in training.

    Such a model trains, but a resumed run differs from an uninterrupted one and N workers from one. Found by
    watching the global generator during one forward pass in training; parameters and buffers are left as they
    were.
    """
    found: list[str] = []
    before: dict[str, Tensor] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            before[path] = torch.default_generator.get_state()

        return hook

    def compare(path: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            moved = not torch.equal(before[path], torch.default_generator.get_state())
            # Children finish before their parents: name the innermost module only.
            if moved and not any(known.startswith(f"{path}." if path else "") for known in found):
                found.append(path)

        return hook

    handles = []
    for path, module in model.named_modules():
        handles += [module.register_forward_pre_hook(note(path)), module.register_forward_hook(compare(path))]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    training = model.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            context.begin(0, 0, 0, len(images), len(images))
            model.train()
            model(images)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return found
