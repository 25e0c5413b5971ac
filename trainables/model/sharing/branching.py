"""A trunk that branches."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from trainables.model.sharing.blueprint import Blueprint
from trainables.model.sharing.structure import PerTask, Reading, Taps, WithoutSharedFeatures, chain


class Branching(WithoutSharedFeatures):
    """Each task shares the first `at[task]` parts of the backbone; the rest are copies of its own.

    With all parts shared it is hard sharing, with none a network for each task.
    """

    def __init__(self, blueprint: Blueprint, taps: Taps, at: Mapping[str, int]) -> None:
        super().__init__(taps)
        self.at = {task: min(at[task], self.depth(task)) for task in taps}
        self.trunk = nn.ModuleList(blueprint.stages.parts[: max(self.at.values())])
        self.branches = PerTask(
            taps,
            lambda task: nn.ModuleList(
                blueprint.copy("branch", task).parts[self.at[task] : self.depth(task)]
                if self.at[task] < self.depth(task)
                else ()
            ),
        )

    def readings(self, images: Tensor) -> Reading:
        """The trunk once, then each branch."""
        trunk = [images, *chain(self.trunk, images)]
        readings = {}
        for task, own in self.taps.items():
            at = self.at[task]
            outputs = [*trunk[1 : at + 1], *chain(self._branch(task), trunk[at])]
            readings[task] = tuple(outputs[part] for part in own)
        return readings

    def modules_of(self, task: str) -> Iterator[nn.Module]:
        """The trunk up to the branch, and the branch."""
        yield from self.trunk[: self.at[task]]
        yield from self._branch(task)

    def _branch(self, task: str) -> nn.ModuleList:
        branch = self.branches.of(task)
        assert isinstance(branch, nn.ModuleList)  # noqa: S101
        return branch
