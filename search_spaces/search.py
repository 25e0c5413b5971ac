"""The `search` section: how many trials, proposed how, judged by what."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

from search_spaces.domains import Domain

Count = Annotated[int, Strict(), Field(ge=1)]
Objective = Annotated[str, StringConstraints(pattern=r"^(score|[A-Za-z][A-Za-z0-9_]*\.[a-z0-9_]+)$")]
"""`score`, `<task>.<metric>` or `<task>.loss`."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Asha(_Section):
    """Asynchronous successive halving (Li et al., MLSys 2020), stopping variant."""

    kind: Literal["asha"] = "asha"
    on: Objective = "score"
    """What trials are compared by. Losses are minimised, everything else maximised."""
    min_epochs: Count = 1
    """No trial is stopped before."""
    reduction: Annotated[int, Strict(), Field(ge=2)] = 3
    """At each rung the best 1/reduction go on."""


class SearchConfig(_Section):
    """What is searched and how."""

    trials: Count = 20
    """grid: an upper bound; the whole grid is run if it is smaller."""
    sampler: Literal["random", "grid", "tpe"] = "tpe"
    objectives: tuple[Objective, ...] = Field(default=())
    """What is traded off. Default: every task's metric."""
    stop_early: Asha | None = None
    space: dict[str, Domain] | tuple[str, ...] = Field(default_factory=dict)
    """`{config key: domain}`, or names of ready-made spaces: task_weights, head_architecture, …"""
