"""A backbone as a chain of stages."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.errors import ModelError


@dataclass(frozen=True)
class FeatureShape:
    """What a stage gives for one example: its sizes, and which dimension holds its channels."""

    sizes: tuple[int, ...]
    """Without the batch."""
    channel_dim: int
    """Of `sizes`: 0 for (C, H, W) and (F,), the last one for (H, W, C) and (N, C)."""

    @property
    def channels(self) -> int:
        """C."""
        return self.sizes[self.channel_dim]

    @property
    def places(self) -> tuple[int, ...]:
        """Sizes of the other dimensions; empty for a vector and for a map of one place."""
        others = self.sizes[: self.channel_dim] + self.sizes[self.channel_dim + 1 :]
        return others if math.prod(others) > 1 else ()

    @property
    def count(self) -> int:
        """How many places there are."""
        return math.prod(self.sizes) // self.channels

    def pooled(self, x: Tensor) -> Tensor:
        """(B, *sizes) -> (B, C), the mean over all places."""
        dims = [dim + 1 for dim in range(len(self.sizes)) if dim != self.channel_dim]
        return x.mean(dims) if dims else x

    def tokens(self, x: Tensor) -> Tensor:
        """(B, *sizes) -> (B, places, C)."""
        return x.movedim(self.channel_dim + 1, -1).reshape(x.shape[0], -1, self.channels)

    def across(self, channels: Tensor) -> Tensor:
        """(C,) -> a shape that broadcasts over (B, *sizes)."""
        return channels.view(-1, *[1] * (len(self.sizes) - 1 - self.channel_dim))


@dataclass(frozen=True)
class Stages:
    """A chain of parts whose composition is the backbone; the last one gives its (B, F) features."""

    parts: tuple[nn.Module, ...]
    names: tuple[str, ...]
    shapes: tuple[FeatureShape, ...]
    """What each part gives."""
    images: FeatureShape
    """What the first part reads."""

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def learned(self) -> tuple[bool, ...]:
        """Whether each part has parameters; the last one may just pool."""
        return tuple(any(True for _ in part.parameters()) for part in self.parts)

    @property
    def last_map(self) -> int:
        """The last part that gives features at places; the last of all where none does."""
        maps = [index for index, shape in enumerate(self.shapes) if shape.places]
        return maps[-1] if maps else len(self) - 1

    def whole(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F)."""
        x = images
        for part in self.parts:
            x = part(x)
        return x

    def before(self, index: int) -> FeatureShape:
        """What part `index` reads."""
        return self.shapes[index - 1] if index else self.images

    def index(self, stage: int | str, key: str) -> int:
        """The part that `stage` (a number from 1, or a name) means.

        Raises:
            ModelError: there is none.
        """
        if isinstance(stage, str) and stage in self.names:
            return self.names.index(stage)
        if isinstance(stage, int) and 1 <= stage <= len(self):
            return stage - 1
        known = ", ".join(f"{number} {name}" for number, name in enumerate(self.names, start=1))
        said = f"{stage!r}" if isinstance(stage, str) else stage
        raise ModelError(
            f"{key}: this backbone has no stage {said}.", hint=f"Its stages are {known}.", key=key
        )

    def depth(self, stages: int | str, key: str) -> int:
        """How many parts `stages` (a number from 0, or the name of the last one) means.

        Raises:
            ModelError: there are not so many, or there is no such name.
        """
        return 0 if stages == 0 else self.index(stages, key) + 1

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Stages":
        """Load each part's own from the state of a whole backbone, in place."""
        with torch.no_grad():
            for part in self.parts:
                for name, tensor in part.state_dict().items():
                    if name in tensors:  # else a constant of the graph
                        tensor.copy_(tensors[name])
        return self
