"""One backbone that each task conditions: FiLM and adapters."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.model.sharing.blueprint import Blueprint
from trainables.model.sharing.pointwise import pointwise
from trainables.model.sharing.structure import Addition, PerTask, Reading, Taps, WithoutSharedFeatures
from trainables.model.stages import FeatureShape


class ScaleAndShift(Addition):
    """γ ⊙ x + β over channels (Perez et al., AAAI 2018, eq. 2); the identity at first."""

    def __init__(self, shape: FeatureShape) -> None:
        super().__init__()
        self.shape = shape
        self.scale = nn.Parameter(torch.ones(shape.channels))
        self.shift = nn.Parameter(torch.zeros(shape.channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, *sizes) -> (B, *sizes)."""
        return x * self.shape.across(self.scale) + self.shape.across(self.shift)


class Adapter(Addition):
    """x + U ReLU(D x) with 1×1 convolutions D to `rank` channels and U back; U = 0, the identity, at first.

    Residual adapters (Rebuffi et al., CVPR 2018) with the bottleneck of Houlsby et al. (ICML 2019).
    """

    def __init__(self, shape: FeatureShape, rank: int) -> None:
        super().__init__()
        self.down = pointwise(shape, shape.channels, rank)
        self.up = pointwise(shape, rank, shape.channels)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *sizes) -> (B, *sizes)."""
        change: Tensor = self.up(functional.relu(self.down(x)))
        return x + change


class Conditioned(WithoutSharedFeatures):
    """All tasks share the backbone; after each part that has parameters every task changes what it gave.

    Each task takes a pass of its own through all parts but the first. Running statistics of batch
    normalisation see the passes of all tasks.
    """

    def __init__(self, blueprint: Blueprint, taps: Taps, make: Callable[[FeatureShape], Addition]) -> None:
        super().__init__(taps)
        stages = blueprint.stages
        self.trunk = nn.ModuleList(stages.parts[: self.deepest])

        def changes(task: str) -> nn.Module:
            with blueprint.drawing("condition", task):
                return nn.ModuleList(
                    make(shape) if learned else nn.Identity()
                    for shape, learned in zip(
                        stages.shapes[: self.depth(task)], stages.learned[: self.depth(task)], strict=True
                    )
                )

        self.changes = PerTask(taps, changes)

    def readings(self, images: Tensor) -> Reading:
        """One pass of the first part, then one of the rest for each task."""
        first = self.trunk[0](images)
        return {task: self._reading(task, first) for task in self.tasks}

    def _reading(self, task: str, first: Tensor) -> tuple[Tensor, ...]:
        changes = self._changes(task)
        x = changes[0](first)
        outputs = [x]
        for part, change in zip(self.trunk[1 : self.depth(task)], changes[1:], strict=True):
            x = change(part(x))
            outputs.append(x)
        return tuple(outputs[part] for part in self.taps[task])

    def modules_of(self, task: str) -> Iterator[nn.Module]:
        """The backbone down to the task's last tap, and its own changes."""
        yield from self.trunk[: self.depth(task)]
        yield self._changes(task)

    def _changes(self, task: str) -> nn.ModuleList:
        changes = self.changes.of(task)
        assert isinstance(changes, nn.ModuleList)  # noqa: S101
        return changes
