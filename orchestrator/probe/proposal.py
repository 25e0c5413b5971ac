"""From conflict scores to depths at which the backbone could branch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ENOUGH = 0.25
"""Share of (step, pair of tasks) in conflict from which on branching at a part is suggested."""


@dataclass(frozen=True)
class Branch:
    """A depth at which the backbone could branch."""

    at: int
    """Parts that stay shared, `model.sharing.at`."""
    name: str
    """The first part of which each task has its own."""
    conflict: float | None
    """The score of that part; None where no pair of tasks met."""
    parameters: int
    """Of the whole model."""


@dataclass(frozen=True)
class Proposal:
    """Where to branch.

    Attributes:
        hard_parameters: of the model that shares the whole backbone.
        suggested: the most conflicting first; empty where there is little conflict.
        control: all other depths, with which a suggested one has to be compared.
        space: what to search, as `search.space` has it; empty where nothing is suggested.
    """

    hard_parameters: int
    suggested: tuple[Branch, ...]
    control: tuple[Branch, ...]
    space: dict[str, Any]


def propose(branches: Sequence[Branch], hard_parameters: int, *, gradients: str) -> Proposal:
    """Suggest the branches whose first own part has a score of at least `ENOUGH`.

    Of equal ones the deepest comes first, which adds least to the model. To share nothing is never suggested: it
    leaves nothing to balance, and some methods refuse it. `gradients`: `balancing.gradients` of the file.
    """
    ranked = sorted(branches, key=lambda branch: (-_score(branch), -branch.at))
    suggested = tuple(branch for branch in ranked if _score(branch) >= ENOUGH and branch.at > 0)
    control = tuple(branch for branch in ranked if branch not in suggested)
    space: dict[str, Any] = {}
    if suggested:
        space["model.sharing.kind"] = {"choice": ["hard", "branching"]}
        space["model.sharing.at"] = {
            "when": {"model.sharing.kind": "branching"},
            "choice": [branch.at for branch in suggested],
        }
        if gradients == "features":  # of which branches have none that all tasks read
            space["balancing.gradients"] = {"choice": ["parameters"]}
    return Proposal(hard_parameters, suggested, control, space)


def _score(branch: Branch) -> float:
    return -math.inf if branch.conflict is None else branch.conflict
