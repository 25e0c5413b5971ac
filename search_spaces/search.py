"""The `search` section: how many trials, proposed how, judged by what."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    StringConstraints,
    Tag,
    model_validator,
)

from search_spaces.domains import Domain
from search_spaces.named import SpaceName

Count = Annotated[int, Strict(), Field(ge=1)]
Objective = Annotated[str, StringConstraints(pattern=r"^(score|[A-Za-z][A-Za-z0-9_]*\.[a-z0-9_]+)$")]
"""`score`, `<task>.<metric>`, `<task>.loss` or `model.<cost>`."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Asha(_Section):
    """Asynchronous successive halving (Li et al., MLSys 2020), stopping variant."""

    kind: Literal["asha"] = "asha"
    on: Objective = "score"
    """What trials are compared by. Losses and ece are minimised, everything else maximised."""
    min_epochs: Count = 1
    """No trial is stopped before."""
    reduction: Annotated[int, Strict(), Field(ge=2)] = 3
    """At each rung the best 1/reduction go on."""


Space = Annotated[
    Annotated[dict[str, Domain], Tag("keys")] | Annotated[tuple[SpaceName, ...], Tag("names")],
    Discriminator(lambda space: "keys" if isinstance(space, Mapping) else "names"),
]


class SearchConfig(_Section):
    """What is searched and how."""

    trials: Count = 20
    """grid: an upper bound; the whole grid is run if it is smaller."""
    sampler: Literal["random", "quasi_random", "grid", "tpe"] = "tpe"
    """tpe: learns from the trials that have ended, after a start at random. random: independent draws. quasi_random:
    draws that are spread evenly, by a scrambled Sobol' sequence (Bousquet et al. 2017, arXiv:1706.03200), best with 16,
    32, 64, … trials. grid: every combination of the domains' grid values."""
    objectives: tuple[Objective, ...] = Field(default=())
    """What is traded off: `score`, `<task>.<metric>`, `<task>.loss`, and of the model `model.parameters`,
    `model.flops` (of one image's forward pass) and `model.latency_ms` (of one image, measured), which are
    minimised. Default: every task's metric."""
    stop_early: Asha | None = None
    space: Space = Field(default_factory=dict)
    """`{config key: domain}`, or names of ready-made spaces: task_weights, head_architecture, …"""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        _require_unique("objectives", self.objectives)
        if not isinstance(self.space, dict):
            _require_unique("space", self.space)
        return self


def _require_unique(key: str, names: tuple[Any, ...]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{key} names {', '.join(sorted(twice))} twice")
