"""Multi-task attention networks."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.model.sharing.blueprint import Blueprint
from trainables.model.sharing.pointwise import pointwise
from trainables.model.sharing.structure import Addition, PerTask, Reading, SharingStructure, Taps, alias
from trainables.model.stages import FeatureShape


class Attention(Addition):
    """A task's mask over what a part gives: σ(W₂ ReLU(W₁ [z; p])) ⊙ z, with p what the task has so far.

    Liu et al. (CVPR 2019, eq. 1 and 2). Departures: z stands for both feature maps of a block, p is brought to
    the places of z by average pooling and a linear map, and nothing is normalised.
    """

    def __init__(self, before: FeatureShape | None, shape: FeatureShape, reduction: int) -> None:
        """`before`: of what the task has so far; None for its first attention."""
        super().__init__()
        self.before = before
        self.shape = shape
        narrow = max(1, shape.channels // reduction)
        self.squeeze = pointwise(shape, shape.channels, narrow)
        self.excite = pointwise(shape, narrow, shape.channels)
        self.carry = nn.Linear(before.channels, narrow) if before is not None else None

    def forward(self, z: Tensor, so_far: Tensor | None) -> Tensor:
        """(B, *shape), (B, *before) -> (B, *shape)."""
        squeezed: Tensor = self.squeeze(z)
        if self.carry is not None and so_far is not None:
            squeezed = squeezed + self._brought(self.carry, so_far)
        return torch.sigmoid(self.excite(functional.relu(squeezed))) * z

    def _brought(self, carry: nn.Linear, so_far: Tensor) -> Tensor:
        """(B, *before) -> the places of `shape`; one value for all of them where the layouts differ."""
        before, shape = self.before, self.shape
        assert before is not None  # noqa: S101
        if len(before.places) == len(shape.places) == 2:
            maps = so_far.movedim(before.channel_dim + 1, 1)
            rows, columns = shape.places
            pooled = functional.adaptive_avg_pool2d(maps, (rows, columns)).movedim(1, -1)
            carried: Tensor = carry(pooled)
        elif before.places == shape.places:
            carried = carry(so_far.movedim(before.channel_dim + 1, -1))
        else:
            mean: Tensor = carry(before.pooled(so_far))
            carried = mean.reshape(len(mean), *[1] * (len(shape.sizes) - 1), -1)
        return carried.movedim(-1, shape.channel_dim + 1)


class MTAN(SharingStructure):
    """One backbone; each task attends to its own part of what every part of it gives.

    A last part without parameters (pooling) works on what each task has.
    """

    def __init__(self, blueprint: Blueprint, taps: Taps, reduction: int) -> None:
        super().__init__(taps, shares_features=True)
        stages = blueprint.stages
        self.shared = sum(stages.learned[: self.deepest])
        """How many parts are shared: those with parameters."""
        self.trunk = nn.ModuleList(stages.parts[: self.deepest])

        def attentions(task: str) -> nn.Module:
            with blueprint.drawing("attention", task):
                return nn.ModuleList(
                    Attention(stages.shapes[part - 1] if part else None, stages.shapes[part], reduction)
                    for part in range(min(self.shared, self.depth(task)))
                )

        self.attentions = PerTask(taps, attentions)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """What every shared part gives."""
        outputs = []
        x = images
        for part in self.trunk[: self.shared]:
            x = part(x)
            outputs.append(alias(x))
        return tuple(outputs)

    def read(self, features: tuple[Tensor, ...]) -> Reading:
        """What each task has attended to."""
        return {task: self._read(task, features) for task in self.tasks}

    def _read(self, task: str, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        so_far: Tensor | None = None
        outputs = []
        for attention, z in zip(self._attentions(task), features, strict=False):
            so_far = attention(z, so_far)
            outputs.append(so_far)
        for part in self.trunk[self.shared : self.depth(task)]:
            so_far = part(so_far)
            outputs.append(so_far)
        return tuple(outputs[part] for part in self.taps[task])

    def modules_of(self, task: str) -> Iterator[nn.Module]:
        """The trunk and the task's attentions, down to its last tap."""
        yield from self.trunk[: self.depth(task)]
        yield self._attentions(task)

    def _attentions(self, task: str) -> nn.ModuleList:
        attentions = self.attentions.of(task)
        assert isinstance(attentions, nn.ModuleList)  # noqa: S101
        return attentions
