"""The seam between a backbone's stages and the heads: what a model structure must do."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import Tensor, nn

Taps = Mapping[str, tuple[int, ...]]
"""By task: the parts of the backbone (0-based, rising) whose outputs its head reads."""
Reading = dict[str, tuple[Tensor, ...]]
"""By task: what its head reads, in the order of its taps."""


class Addition(nn.Module):
    """What a structure adds to a backbone: a gate, a stitch, an attention, a scale and shift, an adapter."""


class PerTask(nn.ModuleDict):
    """A module for each task. nn.ModuleDict itself refuses names that nn.Module uses ("type", "keys")."""

    def __init__(self, tasks: Iterable[str], make: Callable[[str], nn.Module]) -> None:
        super().__init__({f"task_{task}": make(task) for task in tasks})

    def of(self, task: str) -> nn.Module:
        """The module of `task`."""
        return self[f"task_{task}"]


class SharingStructure(nn.Module, ABC):
    """Images to what heads read. `read(features(images))` is the forward pass.

    Where `shares_features`, `features` are the tensors that all tasks read, and everything after them belongs
    to one task. Where one of them is computed from another, it is an alias that only tasks read: the
    derivatives of a loss by them are partial ones, and `torch.autograd.backward(features, gradients)` counts
    no path twice.
    """

    def __init__(self, taps: Taps, *, shares_features: bool) -> None:
        super().__init__()
        self.taps = dict(taps)
        self.tasks = tuple(taps)
        alike = len(set(self.taps.values())) == 1
        self.shares_features = shares_features and alike

    @property
    def deepest(self) -> int:
        """How many parts of the backbone are needed at all."""
        return max(map(self.depth, self.tasks))

    def depth(self, task: str) -> int:
        """How many parts of the backbone `task` needs."""
        return self.taps[task][-1] + 1

    @property
    def tapped(self) -> tuple[int, ...]:
        """The parts that some head reads, rising."""
        return tuple(sorted({part for own in self.taps.values() for part in own}))

    @abstractmethod
    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> the tensors that all tasks read, or any others where there are none."""

    @abstractmethod
    def read(self, features: tuple[Tensor, ...]) -> Reading:
        """What the head of each task reads, from what `features` gave."""

    @abstractmethod
    def modules_of(self, task: str) -> Iterator[nn.Module]:
        """The modules that the loss of `task` depends on."""


class WithoutSharedFeatures(SharingStructure):
    """A structure in which there is nothing that all tasks read and that only heads come after."""

    def __init__(self, taps: Taps) -> None:
        super().__init__(taps, shares_features=False)

    @abstractmethod
    def readings(self, images: Tensor) -> Reading:
        """(B, C, H, W) -> what the head of each task reads."""

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """What heads read, one task after another."""
        readings = self.readings(images)
        return tuple(tensor for task in self.tasks for tensor in readings[task])

    def read(self, features: tuple[Tensor, ...]) -> Reading:
        """Each task's own."""
        remaining = iter(features)
        return {task: tuple(next(remaining) for _ in self.taps[task]) for task in self.tasks}


def alias(x: Tensor) -> Tensor:
    """The same numbers as another node of the graph."""
    return x.view_as(x)


def chain(parts: Iterable[nn.Module], x: Tensor) -> Iterator[Tensor]:
    """What each part gives when one follows another."""
    for part in parts:
        x = part(x)
        yield x
