"""Who proposes the next trial: random, quasi-random, grid or TPE, asked and told by trial number."""

import random
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Protocol, assert_never

from typing_extensions import override

from orchestrator.tuning.distinct import draw_new
from orchestrator.tuning.outcomes import Outcome
from orchestrator.tuning.tpe import TpeSearcher
from search_spaces.quasi_random import sobol_points
from search_spaces.search import SearchConfig
from search_spaces.space import SearchSpace
from search_spaces.suggesters import Suggester, random_suggesters
from search_spaces.values import Value, identity, plain


class Searcher(Protocol):
    """Proposes trials and learns from them.

    What `ask(number)` proposes is a function of the space, the seed, the number, and the trials known by
    then: their values, and how they ended if they have. Neither the order in which they became known nor the
    history of draws counts. So a search is rebuilt from its record with `add` and `tell`.
    """

    def ask(self, number: int) -> dict[str, Value] | None:
        """Propose the values of trial `number` (from 0) by searched key; None: nothing is left to propose.

        The trial is known from then on, as running.
        """
        ...

    def add(self, number: int, values: Mapping[str, Value]) -> None:
        """Make a trial known that was proposed earlier, as running."""
        ...

    def tell(self, number: int, outcome: Outcome) -> None:
        """Learn how a known trial ended."""
        ...


class _Heedless:
    """Proposes what it would propose anyway."""

    def add(self, number: int, values: Mapping[str, Value]) -> None:
        """Nothing depends on it."""

    def tell(self, number: int, outcome: Outcome) -> None:
        """Nothing depends on it."""


class _DrawingSearcher(_Heedless, ABC):
    """Draws without repetition: trial n is a function of the space, the seed and n alone.

    What trials 0 to n - 1 are is a function of the seed, too, so that n is drawn among the rest, and a longer search
    extends a shorter one.
    """

    def __init__(self, space: SearchSpace, *, seed: int):
        self._space = space
        self._seed = seed
        self._draws: list[dict[str, Value] | None] = []
        self._seen: set[Hashable] = set()

    def ask(self, number: int) -> dict[str, Value] | None:
        """Draw the values of trial `number`; None: the space has no more."""
        while (next_one := len(self._draws)) <= number:
            draws = self._suggesters(next_one)
            values = draw_new(self._space, self._seen, draws, seed=self._seed, number=next_one)
            self._draws.append(values)
            self._seen.add(identity(values))
        return self._draws[number]

    @abstractmethod
    def _suggesters(self, number: int) -> Iterator[Suggester]:
        """Where the draws for trial `number` come from; asked for once per trial, in order."""


class RandomSearcher(_DrawingSearcher):
    """Independent draws (Bergstra & Bengio, JMLR 2012). Which other keys are searched changes none."""

    @override
    def _suggesters(self, number: int) -> Iterator[Suggester]:
        return random_suggesters(self._seed, number)


class QuasiRandomSearcher(_DrawingSearcher):
    """Draws that are spread evenly over the space: a scrambled Sobol' sequence, of which repetitions are left out."""

    def __init__(self, space: SearchSpace, *, seed: int):
        super().__init__(space, seed=seed)
        self._points = sobol_points(space.drawn_names(), seed=seed)

    @override
    def _suggesters(self, number: int) -> Iterator[Suggester]:
        return self._points  # goes on where the trial before has stopped


class GridSearcher(_Heedless):
    """Every point of the grid once, in an order shuffled by the seed.

    Shuffled, because a grid in its natural order that is interrupted, or cut short by `search.trials`, has
    never varied its first keys. Trial n is a function of the seed and n alone, so a longer search extends a
    shorter one.

    Raises:
        SpaceError: the grid is too large.
    """

    def __init__(self, space: SearchSpace, *, seed: int):
        self._points = space.grid_points()
        random.Random(f"grid/{seed}").shuffle(self._points)  # noqa: S311 - nothing secret

    def ask(self, number: int) -> dict[str, Value] | None:
        """Return point `number` of the shuffled grid, None past its end."""
        if number >= len(self._points):
            return None
        return {key: plain(value) for key, value in self._points[number].items()}


def make_searcher(
    search: SearchConfig, space: SearchSpace, objectives: Sequence[str], *, seed: int
) -> Searcher:
    """Build the searcher that `search.sampler` names.

    Args:
        search: The `search` section.
        space: What `search.space` means for this experiment.
        objectives: What is traded off, the default filled in.
        seed: Of all draws.
    """
    match search.sampler:
        case "random":
            return RandomSearcher(space, seed=seed)
        case "quasi_random":
            return QuasiRandomSearcher(space, seed=seed)
        case "grid":
            return GridSearcher(space, seed=seed)
        case "tpe":
            return TpeSearcher(space, objectives, seed=seed, trials=search.trials)
        case _:
            assert_never(search.sampler)
