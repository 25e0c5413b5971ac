"""Draws that have not been drawn before: equal configs give equal results, so that a repetition teaches nothing."""

import itertools
import random
from collections.abc import Container, Hashable, Iterable

from search_spaces.space import SearchSpace
from search_spaces.suggesters import Suggester
from search_spaces.values import Value, identity

DRAWS = 200
"""After so many repetitions in a row, what is left of a small finite space is listed."""


def draw_new(
    space: SearchSpace,
    seen: Container[Hashable],
    suggesters: Iterable[Suggester],
    *,
    seed: int,
    number: int,
) -> dict[str, Value] | None:
    """Draw the values of trial `number` among what is not in `seen` (identities of proposals).

    A function of its arguments.

    Args:
        space: What is drawn from.
        seen: What is refused.
        suggesters: One for each draw, at least `DRAWS`; no more are taken than are needed.
        seed: With `number`, of the draw from the list of what is left.
        number: Of the trial.

    Returns:
        None if the space has no other proposals. Where that cannot be known, because it has infinitely many of which
        a few are almost always drawn, a repetition.
    """
    for suggester in itertools.islice(suggesters, DRAWS):
        values = space.suggest(suggester)
        if identity(values) not in seen:
            return values
    proposals = space.every_proposal()
    if proposals is None:
        return values
    left = [proposal for proposal in proposals if identity(proposal) not in seen]
    return random.Random(f"{seed}/{number}/left").choice(left) if left else None  # noqa: S311 - nothing secret
