"""Who proposes the next trial: random, grid or TPE, asked and told by trial number."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from search_spaces.search import SearchConfig
from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester
from search_spaces.values import Value


@dataclass(frozen=True)
class Completed:
    """A trial ran to its end. `metrics` are those of its selected epoch, by objective."""

    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Pruned:
    """A trial was stopped after `epoch` epochs, because others did better."""

    epoch: int
    metrics: Mapping[str, float]
    """Of its selected epoch so far."""


@dataclass(frozen=True)
class Failed:
    """A trial ended without a result that counts: an error, or an interruption for good."""


Outcome = Completed | Pruned | Failed


class Searcher(Protocol):
    """Proposes trials and learns from them.

    Equal construction and an equal sequence of `ask` and `tell` give equal proposals, so a search is rebuilt by
    repeating its recorded sequence. Numbers count from 0; each is asked once and told at most once.
    """

    def ask(self, number: int) -> dict[str, Value] | None:
        """Propose the values of trial `number` by searched key; None when there is nothing left to propose."""
        ...

    def tell(self, number: int, outcome: Outcome) -> None:
        """Learn how trial `number` ended."""
        ...


class RandomSearcher:
    """Independent draws; trial n is a function of the seed and n alone (Bergstra & Bengio, JMLR 2012)."""

    def __init__(self, space: SearchSpace, *, seed: int):
        self._space = space
        self._seed = seed

    def ask(self, number: int) -> dict[str, Value]:
        """Draw the values of trial `number`."""
        return self._space.suggest(RandomSuggester(self._seed, number))

    def tell(self, number: int, outcome: Outcome) -> None:
        """Learn nothing."""


class GridSearcher:
    """Every point of the grid once, in an order shuffled by the seed.

    Shuffled, because a grid in its natural order that is interrupted or cut short by `search.trials` never varied
    its first keys. Trial n is a function of the seed and n alone, so raising `search.trials` extends a search.

    Raises:
        SpaceError: the grid is too large.

    """

    def __init__(self, space: SearchSpace, *, seed: int):
        points = space.grid_points()
        random.Random(f"grid/{seed}").shuffle(points)  # noqa: S311 - nothing secret
        self._points = points

    def ask(self, number: int) -> dict[str, Value] | None:
        """Return point `number` of the shuffled grid, None past its end."""
        return dict(self._points[number]) if number < len(self._points) else None

    def tell(self, number: int, outcome: Outcome) -> None:
        """Learn nothing."""


def make_searcher(
    search: SearchConfig, space: SearchSpace, objectives: Sequence[str], *, seed: int, slots: int = 1
) -> Searcher:
    """Build the searcher that `search.sampler` names.

    Args:
        search: The `search` section.
        space: Its space.
        objectives: What is traded off, the default filled in.
        seed: Of all draws.
        slots: How many trials run at the same time.

    """
    match search.sampler:
        case "random":
            return RandomSearcher(space, seed=seed)
        case "grid":
            return GridSearcher(space, seed=seed)
        case "tpe":
            raise NotImplementedError("tpe")
        case _:
            assert_never(search.sampler)
