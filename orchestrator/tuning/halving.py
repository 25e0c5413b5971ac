"""Successive halving: which trials are stopped early, and why."""

import math
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from search_spaces.objectives import is_minimised
from search_spaces.search import Asha

FRACTIONS = {2: "half", 3: "third", 4: "quarter", 5: "fifth"}


@dataclass
class _Rung:
    epoch: int
    losses: list[float] = field(default_factory=list)
    """What has been reached here, less is better, ascending."""
    trials: set[str] = field(default_factory=set)


class SuccessiveHalving:
    """The stopping variant of asynchronous successive halving (Li et al., MLSys 2020, §3.3).

    Rungs lie at min_epochs · reductionᵏ epochs, below the last epoch. A trial that reaches a rung goes on if
    it is among the best ⌊n / reduction⌋ of the n trials that have reached it so far, itself included; while n
    is less than `reduction`, every one goes on. It is judged once per rung, by the metric at that epoch; one
    that is not finite is the worst.

    Unlike the paper's promotion, a stopped trial never resumes; and unlike Ray's scheduler, which compares
    with an interpolated percentile of the others, no trial is stopped before there are enough to speak of a
    fraction.
    """

    def __init__(self, asha: Asha, *, epochs: int):
        """Judge trials of `epochs` epochs by `asha.on`."""
        self.metric = asha.on
        self._reduction = asha.reduction
        self._rungs = [_Rung(epoch) for epoch in _rung_epochs(asha.min_epochs, asha.reduction, epochs)]

    def judge(self, trial: str, epoch: int, value: float) -> str | None:
        """Take in what a trial has reached after an epoch.

        Returns:
            None if it goes on, else the reason why it does not, for people.
        """
        rung = next((rung for rung in self._rungs if rung.epoch == epoch), None)
        if rung is None or trial in rung.trials:
            return None
        loss = value if is_minimised(self.metric) else -value
        if math.isnan(loss):
            loss = math.inf
        insort(rung.losses, loss)
        rung.trials.add(trial)
        if len(rung.losses) < self._reduction:
            return None
        last = rung.losses[len(rung.losses) // self._reduction - 1]
        if loss <= last and loss < math.inf:
            return None
        return self._reason(epoch, value, last if is_minimised(self.metric) else -last)

    def _reason(self, epoch: int, value: float, limit: float) -> str:
        share = FRACTIONS.get(self._reduction, f"1/{self._reduction}")
        side = "above" if is_minimised(self.metric) else "below"
        return f"after epoch {epoch} its {self.metric} {value:.4g} was {side} the best {share}'s {limit:.4g}"


def _rung_epochs(first: int, reduction: int, epochs: int) -> Iterator[int]:
    while first < epochs:
        yield first
        first *= reduction
