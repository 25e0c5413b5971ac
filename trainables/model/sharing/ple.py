"""Progressive layered extraction, of which customized gate control is the first level."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from trainables.model.sharing.blueprint import Blueprint
from trainables.model.sharing.experts import Expert, Gate, mixed
from trainables.model.sharing.structure import PerTask, Reading, Taps, WithoutSharedFeatures, chain

SHARED = ""
"""Whose experts and gates are all tasks'; no task is called so."""


class Level(nn.Module):
    """Experts of each task and shared ones over some consecutive parts, and the gates that mix them.

    A task's gate mixes its own experts and the shared ones, the shared gate all of them (Tang et al., RecSys
    2020, eq. 3 to 6). Gates read what the task's experts read, pooled.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        number: int,
        parts: range,
        depths: Mapping[str, int],
        *,
        shared_experts: int,
        task_experts: int,
        temperature: float,
        is_last: bool,
    ) -> None:
        """`depths`: by task, how many parts of the backbone it needs; of those that come so far."""
        super().__init__()
        self.parts = parts
        self.tasks = tasks = tuple(sorted(depths))  # the rows of the shared gate do not depend on their order
        self.reads = blueprint.stages.before(parts.start)

        def experts(owner: str) -> nn.Module:
            count = shared_experts if owner == SHARED else task_experts
            stop = min(parts.stop, depths[owner]) if is_last and owner != SHARED else parts.stop
            copies = (blueprint.copy("expert", number, owner, expert) for expert in range(count))
            return nn.ModuleList(Expert(copied.parts[parts.start : stop]) for copied in copies)

        def gate(owner: str) -> nn.Module:
            mixes = shared_experts + task_experts * (len(tasks) if owner == SHARED else 1)
            with blueprint.drawing("gate", number, owner):
                return Gate(self.reads.channels, mixes, temperature)

        self.experts = PerTask((*tasks, SHARED), experts)
        self.gates = PerTask(tasks if is_last else (*tasks, SHARED), gate)

    def forward(self, reading: dict[str, Tensor]) -> dict[str, tuple[Tensor, ...]]:
        """By owner: what it reads -> what each part gives it."""
        found = {owner: [expert(reading[owner]) for expert in self.experts_of(owner)] for owner in reading}
        outputs = {}
        for owner, x in reading.items():
            if f"task_{owner}" not in self.gates:
                continue  # the shared one in the last level
            owners = reading if owner == SHARED else (owner, SHARED)
            shares = self.gates.of(owner)(self.reads.pooled(x))
            # The experts of a task that reads no further end sooner.
            by_part = zip(*(expert for who in owners for expert in found[who]), strict=False)
            outputs[owner] = tuple(mixed(shares, own) for own in by_part)
        return outputs

    def experts_of(self, owner: str) -> nn.ModuleList:
        """Those of a task, or the shared ones."""
        experts = self.experts.of(owner)
        assert isinstance(experts, nn.ModuleList)  # noqa: S101
        return experts


class PLE(WithoutSharedFeatures):
    """A trunk of `at` parts, then levels of shared and private experts. One level is CGC.

    Departure: experts are the parts of the backbone that a level has, not one layer.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        taps: Taps,
        *,
        at: int,
        levels: Sequence[range],
        shared_experts: int,
        task_experts: int,
        temperature: float,
    ) -> None:
        """`levels`: which parts each has; from `at` on, without gaps."""
        super().__init__(taps)
        self.trunk = nn.ModuleList(blueprint.stages.parts[: min(at, self.deepest)])
        needed = [range(p.start, min(p.stop, self.deepest)) for p in levels if p.start < self.deepest]
        self.levels = nn.ModuleList(
            Level(
                blueprint,
                number,
                parts,
                {task: self.depth(task) for task in self.tasks if self.depth(task) > parts.start},
                shared_experts=shared_experts,
                task_experts=task_experts,
                temperature=temperature,
                is_last=number == len(needed) - 1,
            )
            for number, parts in enumerate(needed)
        )

    def readings(self, images: Tensor) -> Reading:
        """The trunk, then one level after another."""
        trunk = tuple(chain(self.trunk, images))
        outputs = {task: list(trunk) for task in self.tasks}
        x = trunk[-1] if trunk else images
        latest = dict.fromkeys((*self.tasks, SHARED), x)
        for level in self._levels():
            found = level({owner: latest[owner] for owner in (*level.tasks, SHARED)})
            for owner, own in found.items():
                latest[owner] = own[-1]
                if owner != SHARED:
                    outputs[owner] += own
        return {task: tuple(outputs[task][part] for part in own) for task, own in self.taps.items()}

    def modules_of(self, task: str) -> Iterator[nn.Module]:
        """In its last level its own and the shared experts; before, through the shared gate, everyone's."""
        yield from self.trunk[: self.depth(task)]
        levels = [level for level in self._levels() if task in level.tasks]
        for number, level in enumerate(levels, start=1):
            is_last, is_next_to_last = number == len(levels), number == len(levels) - 1
            for owner in (task, SHARED) if is_last else (*level.tasks, SHARED):
                for expert in level.experts_of(owner):
                    assert isinstance(expert, Expert)  # noqa: S101
                    yield from expert.parts[: self.depth(task) - level.parts.start]
            # What another task's gate mixes reaches this task by the shared gate of the next level.
            gates = (
                (task,) if is_last else (task, SHARED) if is_next_to_last else (*levels[number].tasks, SHARED)
            )
            for owner in gates:
                yield level.gates.of(owner)

    def _levels(self) -> list[Level]:
        return [level for level in self.levels if isinstance(level, Level)]
