"""Draws that have not been drawn before: equal configs give equal results, so that a repetition teaches nothing."""

import random
from collections.abc import Container, Hashable

from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester
from search_spaces.values import Value, identity

DRAWS = 200
"""After so many repetitions in a row, what is left of a small finite space is listed."""


def draw_new(
    space: SearchSpace, seen: Container[Hashable], *, seed: int, number: int
) -> dict[str, Value] | None:
    """Draw trial `number` at random among what is not in `seen` (identities of proposals).

    A function of its arguments: draws are keyed by (seed, number, how-manieth draw).

    Returns:
        None if the space has no other proposals. Where that cannot be known, because it has infinitely many of which
        a few are almost always drawn, a repetition.
    """
    for attempt in range(DRAWS):
        values = space.suggest(RandomSuggester(seed, number, attempt))
        if identity(values) not in seen:
            return values
    proposals = space.every_proposal()
    if proposals is None:
        return values
    left = [proposal for proposal in proposals if identity(proposal) not in seen]
    return random.Random(f"{seed}/{number}/left").choice(left) if left else None  # noqa: S311 - nothing secret
