"""Where the numbers of a proposal come from: what domains draw through, and plain random draws."""

import itertools
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

from typing_extensions import override


class Suggester(Protocol):
    """Draws one number, or one of several options, under a name.

    The name is a config key, or a config key and a part of it. The same name always comes with the same
    range, so that a model of earlier draws (TPE) can be kept for each name.
    """

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Draw a number from [low, high], for `log` on the scale of its logarithm."""
        ...

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Draw an integer from [low, high], both included."""
        ...

    def option(self, name: str, count: int) -> int:
        """Draw an index below `count`."""
        ...


def between(low: float, high: float, share: float, *, log: bool) -> float:
    """Return what lies `share` (0 to 1) of the way from low to high, with `log` in the logarithm."""
    if log:
        found = math.exp((1 - share) * math.log(low) + share * math.log(high))
    else:
        found = (1 - share) * low + share * high
    return min(max(found, low), high)


class UniformSuggester(ABC):
    """Makes every draw of one number in [0, 1) of its own, uniform if that number is."""

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Uniform, or uniform in the logarithm, in [low, high]."""
        return between(low, high, self._uniform(name), log=log)

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Uniform over the integers; with `log`, integer i has the mass of [i - ½, i + ½] in logarithm."""
        if log:
            drawn = round(self.number(name, low - 0.5, high + 0.5, log=True))
        else:
            drawn = low + math.floor(self._uniform(name) * (high - low + 1))
        return min(max(drawn, low), high)

    def option(self, name: str, count: int) -> int:
        """Every option with the same probability."""
        return self.integer(name, 0, count - 1)

    @abstractmethod
    def _uniform(self, name: str) -> float:
        """The number in [0, 1) for the draw `name`."""


class RandomSuggester(UniformSuggester):
    """Independent random draws, each keyed by (seed, trial number, attempt, name).

    The proposal of a trial is therefore a function of the seed and its number alone: neither what was drawn
    before nor which other keys are searched changes it.
    """

    def __init__(self, seed: int, number: int, attempt: int = 0):
        """Draw for trial `number`; `attempt`: the how-manieth draw for it, where a first one was refused."""
        self._key = f"{seed}/{number}/{attempt}"

    @override
    def _uniform(self, name: str) -> float:
        # A text seed goes through SHA-512: neighbouring keys are unrelated, and all platforms draw alike.
        return random.Random(f"{self._key}/{name}").random()  # noqa: S311 - nothing secret


def random_suggesters(seed: int, number: int) -> Iterator[RandomSuggester]:
    """Draw for trial `number`, again and again."""
    return (RandomSuggester(seed, number, attempt) for attempt in itertools.count())
