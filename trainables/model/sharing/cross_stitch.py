"""Cross-stitch networks."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainables.model.sharing.blueprint import Blueprint
from trainables.model.sharing.structure import Addition, PerTask, Reading, Taps, WithoutSharedFeatures
from trainables.model.stages import FeatureShape


class Stitch(Addition):
    """Mixes what T columns give: x_t ← Σ_u α_tu x_u (Misra et al., CVPR 2016, eq. 1)."""

    def __init__(self, tasks: int, shape: FeatureShape, *, own: float, per_channel: bool) -> None:
        super().__init__()
        self.shape = shape
        alpha = torch.full((tasks, tasks), (1 - own) / (tasks - 1) if tasks > 1 else 0.0)
        alpha.fill_diagonal_(own if tasks > 1 else 1.0)
        channels = shape.channels if per_channel else 1
        self.alpha = nn.Parameter(alpha[:, :, None].repeat(1, 1, channels))
        """(T, T, C), or (T, T, 1) where channels share it."""

    def forward(self, columns: list[Tensor]) -> list[Tensor]:
        """T tensors (B, *sizes) -> T."""
        mixed = []
        for row in self.alpha:
            terms = (self.shape.across(a) * x for a, x in zip(row, columns, strict=True))
            mixed.append(torch.stack(tuple(terms)).sum(0))
        return mixed


class CrossStitch(WithoutSharedFeatures):
    """A backbone for each task, mixed after each part that has parameters."""

    def __init__(self, blueprint: Blueprint, taps: Taps, *, own: float, per_channel: bool) -> None:
        super().__init__(taps)
        stages = blueprint.stages
        self.columns = PerTask(
            taps, lambda task: nn.ModuleList(blueprint.copy("column", task).parts[: self.deepest])
        )
        self.stitches = nn.ModuleList(
            Stitch(len(self.tasks), shape, own=own, per_channel=per_channel) if learned else nn.Identity()
            for shape, learned in zip(
                stages.shapes[: self.deepest], stages.learned[: self.deepest], strict=True
            )
        )

    def readings(self, images: Tensor) -> Reading:
        """All columns side by side."""
        outputs: list[list[Tensor]] = []
        xs = [images] * len(self.tasks)
        for parts, stitch in zip(zip(*self._columns(), strict=True), self.stitches, strict=True):
            xs = stitch([part(x) for part, x in zip(parts, xs, strict=True)])
            outputs.append(xs)
        return {
            task: tuple(outputs[part][column] for part in self.taps[task])
            for column, task in enumerate(self.tasks)
        }

    def modules_of(self, task: str) -> Iterator[nn.Module]:
        """All columns and stitches down to its last tap."""
        for column in self._columns():
            yield from column[: self.depth(task)]
        yield from self.stitches[: self.depth(task)]

    def _columns(self) -> list[nn.ModuleList]:
        return [column for column in self.columns.values() if isinstance(column, nn.ModuleList)]
