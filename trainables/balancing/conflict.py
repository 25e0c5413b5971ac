"""How much the gradients of tasks point against each other, epoch by epoch."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

MOST_TASKS = 6
"""With more tasks, pairs are summed up instead of being listed."""


def cosines(gramian_TT: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of gradients with these inner products (T, T); NaN for one that is zero or not finite: it has no direction."""
    norms = np.sqrt(np.maximum(np.diag(gramian_TT), 0))
    norms[~((norms > 0) & np.isfinite(norms))] = np.nan
    found: NDArray[np.float64] = gramian_TT / np.outer(norms, norms)
    return found


class Conflict:
    """Mean cosine of the gradients of every pair of tasks over what was counted since the last report."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = tuple(tasks)
        self._look: tuple[NDArray[np.float64], NDArray[np.intp]] | None = None
        self._reset()

    def _reset(self) -> None:
        size = len(self._tasks)
        self._sums = np.zeros((size, size))
        self._counts = np.zeros((size, size))

    def look(self, gramian_TT: NDArray[np.float64], present: NDArray[np.intp]) -> None:
        """The gradients' inner products; `present` (T,): positions of the tasks they belong to.

        Of several looks at a step the last one counts.
        """
        self._look = gramian_TT, present

    def count(self) -> None:
        """The step was made. A task whose gradient has no direction is left out."""
        if self._look is None:
            return
        gramian_TT, present = self._look
        self._look = None
        found_TT = cosines(gramian_TT)
        some = ~np.isnan(np.diag(found_TT))
        rows = np.ix_(present[some], present[some])
        self._sums[rows] += found_TT[np.ix_(some, some)]
        self._counts[rows] += 1

    def report(self) -> dict[str, float]:
        """`conflict.a:b` by pair, or for more than `MOST_TASKS` tasks `conflict.mean` and `conflict.lowest`.

        Pairs that never met are absent. Begins anew.
        """
        cosines = {
            (a, b): float(self._sums[a, b] / self._counts[a, b])
            for a, b in combinations(range(len(self._tasks)), 2)
            if self._counts[a, b] > 0
        }
        self._reset()
        if len(self._tasks) <= MOST_TASKS:
            return {f"conflict.{self._tasks[a]}:{self._tasks[b]}": c for (a, b), c in cosines.items()}
        values = list(cosines.values())
        return {"conflict.mean": float(np.mean(values)), "conflict.lowest": min(values)} if values else {}
