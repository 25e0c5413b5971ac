"""Multi-gate mixture of experts."""

from collections.abc import Iterator

from torch import Tensor, nn

from trainables.model.sharing.blueprint import Blueprint
from trainables.model.sharing.experts import Expert, Gate, mixed
from trainables.model.sharing.structure import PerTask, Reading, SharingStructure, Taps, alias, chain


class MMoE(SharingStructure):
    """A trunk of `at` parts, then experts that all tasks read, mixed by a gate of each (Ma et al., KDD 2018).

    Gates read what experts read, pooled. Departure: experts are the rest of the backbone, not one layer.
    """

    def __init__(
        self, blueprint: Blueprint, taps: Taps, *, at: int, experts: int, temperature: float
    ) -> None:
        super().__init__(taps, shares_features=True)
        stages = blueprint.stages
        self.at = min(at, self.deepest)
        self.reads = stages.before(self.at)
        self.trunk = nn.ModuleList(stages.parts[: self.at])
        count = experts if self.at < self.deepest else 0
        own = (blueprint.copy("expert", number) if number else stages for number in range(count))
        self.experts = nn.ModuleList(Expert(copied.parts[self.at : self.deepest]) for copied in own)

        def gate(task: str) -> nn.Module:
            with blueprint.drawing("gate", task):
                return Gate(self.reads.channels, experts, temperature)

        self.gates = PerTask((task for task in self.tasks if self.depth(task) > self.at), gate)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Tapped parts of the trunk, what gates read, then tapped parts of the experts, one after another."""
        outputs = list(chain(self.trunk, images))
        features = [alias(outputs[part]) for part in self.tapped if part < self.at]
        if self.experts:
            x = outputs[-1] if outputs else images
            features.append(self.reads.pooled(x))
            for expert in self.experts:
                found = expert(x)
                features += [alias(found[part - self.at]) for part in self.tapped if part >= self.at]
        return tuple(features)

    def read(self, features: tuple[Tensor, ...]) -> Reading:
        """Parts of the trunk as they are, those of experts mixed."""
        early = [part for part in self.tapped if part < self.at]
        late = [part for part in self.tapped if part >= self.at]
        by_part = dict(zip(early, features, strict=False))
        readings = {}
        for task, own in self.taps.items():
            outputs = dict(by_part)
            if any(part in late for part in own):
                pooled, *found = features[len(early) :]
                shares = self.gates.of(task)(pooled)
                for place, part in enumerate(late):
                    if part in own:
                        outputs[part] = mixed(shares, found[place :: len(late)])
            readings[task] = tuple(outputs[part] for part in own)
        return readings

    def modules_of(self, task: str) -> Iterator[nn.Module]:
        """The trunk, and for a task that reads experts their parts down to its last tap and its gate."""
        yield from self.trunk[: self.depth(task)]
        if self.depth(task) > self.at:
            for expert in self.experts:
                assert isinstance(expert, Expert)  # noqa: S101
                yield from expert.parts[: self.depth(task) - self.at]
            yield self.gates.of(task)
