"""Trade-offs between objectives: who is dominated, how much is covered, and which compromise is balanced.

An objective is `score`, `<task>.<metric>`, `<task>.loss` or `model.<cost>`. Losses, `ece` and costs are
minimised, everything else is maximised. Values are compared as they are: equal ones do not dominate each
other, so trials that tie stay together on the front. A trial with a missing or NaN objective is no candidate.
N trials, M objectives.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces.objectives import is_minimised

Direction = Literal["max", "min"]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
MOST_OBJECTIVES = 6
"""Beyond, the exact hypervolume of some dozen trials takes seconds to hours."""


def direction(objective: str) -> Direction:
    """Whether more of an objective is better."""
    return "min" if is_minimised(objective) else "max"


def is_open_ended(objective: str) -> bool:
    """Whether an objective has no natural worst value: losses and costs of the model."""
    return direction(objective) == "min" and not objective.endswith(".ece")


def objective_values(metrics: Sequence[Mapping[str, float]], objectives: Sequence[str]) -> Values:
    """(N, M) values of N trials on M objectives; NaN where a trial has none."""
    rows = [[float(trial.get(name, np.nan)) for name in objectives] for trial in metrics]
    return np.array(rows, dtype=np.float64).reshape(len(metrics), len(objectives))


def gains(values: Values, directions: Sequence[Direction]) -> Values:
    """The same values with the sign that makes more better."""
    signs: Values = np.array([1.0 if side == "max" else -1.0 for side in directions])
    return values * signs


def non_dominated(values: Values, directions: Sequence[Direction]) -> Flags:
    """Which of N rows no other row dominates (is at least as good on every objective and better on one).

    Args:
        values: (N, M). Rows with NaN neither dominate nor belong to the front.
        directions: M directions.
    """
    gain = gains(values, directions)
    valid: Flags = np.logical_not(np.isnan(gain).any(axis=1))
    front = valid.copy()
    others = gain[valid]
    for row in np.flatnonzero(valid):
        better = (others >= gain[row]).all(axis=1) & (others > gain[row]).any(axis=1)
        front[row] = not better.any()
    return front


def reference_point(values: Values, objectives: Sequence[str]) -> dict[str, float]:
    """The point that hypervolumes are measured from, by objective.

    0 for what is maximised (metrics in [0, 1]) and 1 for `ece`. Losses and costs have no natural worst value:
    their reference is the largest finite one of the trials given, so their hypervolumes compare within one
    search only.
    """
    reference = {}
    for column, name in enumerate(objectives):
        finite = values[np.isfinite(values[:, column]), column]
        if is_open_ended(name):
            reference[name] = float(finite.max()) if finite.size else 0.0
        else:
            reference[name] = 0.0 if direction(name) == "max" else 1.0
    return reference


def hypervolume(values: Values, directions: Sequence[Direction], reference: Sequence[float]) -> float:
    """Volume of what the rows dominate, up to the reference point: exact, and NaN beyond `MOST_OBJECTIVES`.

    Args:
        values: (N, M). Rows with NaN or beyond the reference on any objective cover nothing.
        directions: M directions.
        reference: M coordinates of the worst point that counts.
    """
    losses_NM = -gains(values, directions)
    worst_M = -gains(np.array([reference], dtype=np.float64), directions)[0]
    inside = losses_NM[(losses_NM <= worst_M).all(axis=1)]  # false for NaN
    if not inside.size:
        return 0.0
    if inside.shape[1] <= 2:
        return _area(inside, worst_M)
    if inside.shape[1] > MOST_OBJECTIVES:
        return float("nan")
    from optuna._hypervolume import compute_hypervolume  # costs 0.25 s, which most searches do not need

    return float(compute_hypervolume(inside, worst_M))


def _area(losses_NM: Values, worst_M: Values) -> float:
    """Hypervolume for one or two objectives: the steps of the front, left to right."""
    if losses_NM.shape[1] == 1:
        return float(worst_M[0] - losses_NM.min())
    area, lowest = 0.0, worst_M[1]
    for first, second in losses_NM[np.lexsort((losses_NM[:, 1], losses_NM[:, 0]))]:
        if second < lowest:
            area += (worst_M[0] - first) * (lowest - second)
            lowest = second
    return float(area)


def balanced(values: Values, directions: Sequence[Direction]) -> int | None:
    """The row of the front that sacrifices no objective: the greatest worst one, None without candidates.

    Every objective is scaled so that the front's best value is 1 and its worst 0 (an objective on which the
    front does not differ does not count); the row whose smallest scaled objective is greatest is chosen. Ties
    go to the greater sum of unscaled gains, then to the earlier row.
    """
    front = np.flatnonzero(non_dominated(values, directions))
    if not front.size:
        return None
    gain = gains(values[front], directions)
    low, high = gain.min(axis=0), gain.max(axis=0)
    spread = high - low
    differs = np.isfinite(spread) & (spread > 0)
    if not differs.any():
        return int(front[0])
    smallest = ((gain - low)[:, differs] / spread[differs]).min(axis=1)
    order = np.lexsort((front, -gain.sum(axis=1), -smallest))
    return int(front[order[0]])
