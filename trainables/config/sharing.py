"""`model.sharing`: which part of a network tasks share, and how."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainables.config.section import Bool, Count, NonNegativeInt, Positive, Section, Text

Depth = NonNegativeInt | Text
"""How many stages of the backbone come before something, or the name of the last of them; 0: none."""


class _Sharing(Section):
    shares_features: ClassVar[bool] = False
    """Whether there are tensors that all tasks read and after which everything belongs to one task."""

    @property
    def adds_shared(self) -> bool:
        """Whether it adds to the backbone what several tasks read, which learns even where the backbone is frozen."""
        return False

    def shares_backbone(self, task: str) -> bool:
        """Whether `task` has not a whole backbone of its own."""
        return True


class HardSharing(_Sharing):
    """One backbone for all tasks (Caruana, 1997)."""

    shares_features = True
    kind: Literal["hard"] = "hard"


class BranchingSharing(_Sharing):
    """A trunk, and from some stage on a copy of the backbone for each task."""

    kind: Literal["branching"] = "branching"
    at: Depth | Annotated[dict[Text, Depth], Field(min_length=1)] = 1
    """Stages that are shared: a number, or the name of the last one; or by task, `default` for those not named.
    0 shares nothing, all of them is hard sharing."""

    def shares_backbone(self, task: str) -> bool:
        """Whether the branch of `task` begins after some stage."""
        at = self.at.get(task, self.at.get("default")) if isinstance(self.at, dict) else self.at
        return at != 0


class CrossStitchSharing(_Sharing):
    """A backbone for each task, mixed after each stage (Misra et al., CVPR 2016, eq. 1)."""

    kind: Literal["cross_stitch"] = "cross_stitch"
    own: Annotated[float, Field(ge=0, le=1)] = 0.9
    """What a task first takes of its own features; the others share the rest. Learned from there."""
    per_channel: Bool = False
    """Learn a mixture for each channel instead of one for all."""

    @property
    def adds_shared(self) -> bool:
        """All tasks read all stitches."""
        return True


class MTANSharing(_Sharing):
    """A backbone for all tasks, of which each attends to its own part at each stage (Liu et al., CVPR 2019)."""

    shares_features = True
    kind: Literal["mtan"] = "mtan"
    reduction: Count = 4
    """The attention modules' bottleneck has a `reduction`-th of the channels."""


class MMoESharing(_Sharing):
    """Experts, and for each task a gate that mixes them (Ma et al., KDD 2018, eq. 6 and 7)."""

    shares_features = True
    kind: Literal["mmoe"] = "mmoe"
    at: Depth = 1
    """Stages before the experts, which are shared: a number, or the name of the last one. Experts are copies of
    the rest."""
    experts: Count = 4
    temperature: Positive = 1.0
    """What gates divide by before their softmax; the larger, the more equal the experts."""


class PLESharing(_Sharing):
    """Progressive layered extraction (Tang et al., RecSys 2020): experts that tasks share and experts of each task.

    One level is customized gate control (CGC).
    """

    kind: Literal["ple"] = "ple"
    at: Depth = 1
    """Stages before the experts, which are shared: a number, or the name of the last one."""
    shared_experts: Count = 1
    task_experts: Count = 1
    """Of each task."""
    levels: Count = 1
    """The stages from `at` on are divided among so many levels, each with experts and gates of its own."""
    temperature: Positive = 1.0
    """What gates divide by before their softmax."""

    @property
    def adds_shared(self) -> bool:
        """Every level but the last has a gate that all tasks read."""
        return self.levels > 1


class FiLMSharing(_Sharing):
    """One backbone, whose channels each task scales and shifts after each stage (Perez et al., AAAI 2018, eq. 2).

    Each task takes a pass of its own.
    """

    kind: Literal["film"] = "film"


class AdapterSharing(_Sharing):
    """One backbone, and for each task small residual layers after each stage (Rebuffi et al., CVPR 2018).

    Each task takes a pass of its own.
    """

    kind: Literal["adapters"] = "adapters"
    rank: Count = 8
    """Channels inside of an adapter."""


SharingConfig = Annotated[
    HardSharing
    | BranchingSharing
    | CrossStitchSharing
    | MTANSharing
    | MMoESharing
    | PLESharing
    | FiLMSharing
    | AdapterSharing,
    Field(discriminator="kind"),
]
