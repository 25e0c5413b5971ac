"""How long a search will yet take, with a range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.28
"""Standard deviations on either side that hold 80 % of a normal distribution."""


@dataclass(frozen=True)
class Remaining:
    """Seconds to go: the expectation and an 80 % range."""

    expected: float
    low: float
    high: float


def remaining(ended: Sequence[float], running: Sequence[float], waiting: int, slots: int) -> Remaining | None:
    """Estimate from the trials that have ended.

    The work left is taken as a sum of independent trial times with the mean and the variance of those that
    ended, of which the mean itself is known only so well; running trials owe what is left of the mean.

    Args:
        ended: seconds that ended trials took, pruned ones included.
        running: seconds that running trials have taken so far.
        waiting: trials not started yet.
        slots: trials at the same time.

    Returns:
        None before any trial has ended.
    """
    if not ended:
        return None
    n, left = len(ended), waiting + len(running)
    mean = sum(ended) / n
    variance = sum((seconds - mean) ** 2 for seconds in ended) / (n - 1) if n > 1 else (mean / 2) ** 2
    work = waiting * mean + sum(max(mean - taken, 0.0) for taken in running)
    spread = _Z * math.sqrt(left * variance + left**2 * variance / n)
    parallel = max(1, min(slots, left))
    return Remaining(work / parallel, max(0.0, work - spread) / parallel, (work + spread) / parallel)
