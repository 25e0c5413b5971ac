"""Hard sharing with heads that read stages inside of the backbone."""

from collections.abc import Iterator

from torch import Tensor, nn

from trainables.model.sharing.structure import Reading, SharingStructure, Taps, alias, chain
from trainables.model.stages import Stages


class HardSharing(SharingStructure):
    """One backbone for all tasks (Caruana, 1997)."""

    def __init__(self, stages: Stages, taps: Taps) -> None:
        super().__init__(taps, shares_features=True)
        self.trunk = nn.ModuleList(stages.parts[: self.deepest])

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the tapped parts, rising."""
        outputs = list(chain(self.trunk, images))
        return tuple(alias(outputs[part]) for part in self.tapped)

    def read(self, features: tuple[Tensor, ...]) -> Reading:
        """Those that each task taps."""
        by_part = dict(zip(self.tapped, features, strict=True))
        return {task: tuple(by_part[part] for part in own) for task, own in self.taps.items()}

    def modules_of(self, task: str) -> Iterator[nn.Module]:
        """The backbone down to its last tap."""
        yield from self.trunk[: self.depth(task)]
