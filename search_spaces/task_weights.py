"""Ready-made space `task_weights`: how much each task counts."""

from collections.abc import Sequence

from search_spaces.domains import Domain
from search_spaces.simplex import Simplex


def task_weights(tasks: Sequence[str]) -> dict[str, Domain]:
    """`balancing.weights` on the simplex: summing to 1, none below 0.05 (half the equal share, if less).

    Raises:
        ValueError: fewer than two tasks have nothing to share.

    """
    if len(tasks) < 2:
        raise ValueError("task_weights needs at least two tasks")
    return {"balancing.weights": Simplex(simplex=tuple(tasks), min=min(0.05, 0.5 / len(tasks)))}
