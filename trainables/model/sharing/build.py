"""From `model.sharing` to its structure. Structures are imported when they are asked for."""

from collections.abc import Mapping

from trainables.config import sharing as config
from trainables.config.sharing import SharingConfig
from trainables.errors import ModelError
from trainables.model.sharing.blueprint import Blueprint
from trainables.model.sharing.structure import SharingStructure, Taps
from trainables.model.stages import Stages

KEY = "model.sharing"


def build_structure(section: SharingConfig, blueprint: Blueprint, taps: Taps) -> SharingStructure:
    """The structure that `section` describes, for heads that read `taps`.

    Raises:
        ModelError: it names a stage that there is not, or more levels than there are stages.
    """
    stages = blueprint.stages
    match section:
        case config.HardSharing():
            from trainables.model.sharing.hard import HardSharing

            return HardSharing(stages, taps)
        case config.BranchingSharing():
            from trainables.model.sharing.branching import Branching

            return Branching(blueprint, taps, _branches(section.at, stages, taps))
        case config.CrossStitchSharing():
            from trainables.model.sharing.cross_stitch import CrossStitch

            return CrossStitch(blueprint, taps, own=section.own, per_channel=section.per_channel)
        case config.MTANSharing():
            from trainables.model.sharing.mtan import MTAN

            return MTAN(blueprint, taps, section.reduction)
        case config.MMoESharing():
            from trainables.model.sharing.mmoe import MMoE

            at = _before_experts(section.at, stages)
            return MMoE(blueprint, taps, at=at, experts=section.experts, temperature=section.temperature)
        case config.PLESharing():
            from trainables.model.sharing.ple import PLE

            at = _before_experts(section.at, stages)
            return PLE(
                blueprint,
                taps,
                at=at,
                levels=_levels(section.levels, at, stages),
                shared_experts=section.shared_experts,
                task_experts=section.task_experts,
                temperature=section.temperature,
            )
        case config.FiLMSharing():
            from trainables.model.sharing.conditioned import Conditioned, ScaleAndShift

            return Conditioned(blueprint, taps, ScaleAndShift)
        case config.AdapterSharing(rank=rank):
            from trainables.model.sharing.conditioned import Adapter, Conditioned

            return Conditioned(blueprint, taps, lambda shape: Adapter(shape, rank))


def _before_experts(at: int | str, stages: Stages) -> int:
    """How many parts come before experts; all of them where what is left has nothing to learn."""
    depth = stages.depth(at, f"{KEY}.at")
    return depth if any(stages.learned[depth:]) else len(stages)


def _branches(at: int | str | Mapping[str, int | str], stages: Stages, taps: Taps) -> dict[str, int]:
    """How many parts each task shares."""
    if not isinstance(at, Mapping):
        return dict.fromkeys(taps, stages.depth(at, f"{KEY}.at"))
    missing = [task for task in taps if task not in at and "default" not in at]
    unknown = [name for name in at if name not in taps and name != "default"]
    if missing or unknown:
        said = f"nothing is said of {missing[0]}" if missing else f"there is no task {unknown[0]}"
        raise ModelError(
            f"{KEY}.at: {said}.",
            hint=f"Name each of {', '.join(taps)}, or `default` for those not named.",
            key=f"{KEY}.at",
        )
    named = {task: task if task in at else "default" for task in taps}
    return {task: stages.depth(at[name], f"{KEY}.at.{name}") for task, name in named.items()}


def _levels(count: int, at: int, stages: Stages) -> list[range]:
    """The parts from `at` on, divided as evenly as can be; a last one that only pools is in the last level."""
    learned = sum(stages.learned[at:])
    if learned == 0:
        return []
    if count > learned:
        raise ModelError(
            f"{KEY}.levels: {count} levels need as many stages, but only {learned} come after {KEY}.at.",
            hint=f"Set levels to {learned} or less, or `at` lower.",
            key=f"{KEY}.levels",
        )
    starts = [at + learned * level // count for level in range(count)]
    ends = [*starts[1:], len(stages)]
    return [range(start, end) for start, end in zip(starts, ends, strict=True)]
