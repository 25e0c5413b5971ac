"""Successive halving: who goes on, and what is said to those who do not."""

import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tuning.halving import SuccessiveHalving
from orchestrator.tuning.schedulers import make_scheduler
from search_spaces.search import Asha


def judged(values: list[float], *, on: str = "score", reduction: int = 3, epoch: int = 1) -> list[bool]:
    """Whether each trial, reaching the first rung in turn, goes on."""
    halving = SuccessiveHalving(Asha(on=on, reduction=reduction), epochs=10)
    return [halving.judge(f"t{i:03d}", epoch, value) is None for i, value in enumerate(values)]


def test_the_best_third_goes_on() -> None:
    assert judged([0.5, 0.4, 0.3, 0.6, 0.55, 0.56]) == [True, True, False, True, False, True]


def test_losses_are_better_when_less() -> None:
    assert judged([0.5, 0.4, 0.3, 0.6], on="a.loss") == [True, True, True, False]


@given(st.lists(st.floats(-1, 1), max_size=30), st.integers(2, 5))
def test_a_trial_goes_on_if_it_is_among_the_best_of_those_so_far(values: list[float], reduction: int) -> None:
    for index, goes_on in enumerate(judged(values, reduction=reduction)):
        seen = values[: index + 1]
        better = sum(value > values[index] for value in seen)
        assert goes_on == (len(seen) < reduction or better < len(seen) // reduction)


@given(st.permutations([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]))
def test_the_best_trial_always_goes_on(values: list[float]) -> None:
    assert judged(values)[values.index(0.7)]


def test_rungs_lie_below_the_last_epoch() -> None:
    halving = SuccessiveHalving(Asha(min_epochs=2, reduction=2), epochs=8)
    for name in ("t000", "t001"):
        for epoch in range(1, 9):
            assert halving.judge(name, epoch, 1.0) is None
    verdicts = {epoch: halving.judge("t002", epoch, 0.0) for epoch in range(1, 9)}
    assert [epoch for epoch, reason in verdicts.items() if reason] == [2, 4]


def test_a_repeated_epoch_is_not_judged_again() -> None:
    halving = SuccessiveHalving(Asha(reduction=2), epochs=8)
    for name in ("t000", "t001", "t002", "t003"):
        assert halving.judge(name, 1, 1.0) is None
    assert halving.judge("t000", 1, 0.0) is None


def test_what_is_not_finite_is_the_worst() -> None:
    assert judged([math.nan, math.nan, math.nan, 0.1, math.nan]) == [True, True, False, True, False]
    assert judged([math.nan, 0.3, 0.2], on="a.loss", reduction=2) == [True, True, True]


def test_the_reason_is_for_people() -> None:
    halving = SuccessiveHalving(Asha(min_epochs=3), epochs=20)
    for trial, score in enumerate((0.5, 0.55)):
        halving.judge(f"t{trial:03d}", 3, score)
    assert halving.judge("t002", 3, 0.41) == "after epoch 3 its score 0.41 was below the best third's 0.55"
    losses = SuccessiveHalving(Asha(on="a.loss", reduction=7), epochs=20)
    for trial in range(6):
        losses.judge(f"t{trial:03d}", 1, 0.1)
    assert losses.judge("t006", 1, 0.5) == "after epoch 1 its a.loss 0.5 was above the best 1/7's 0.1"


class NamedTrial:
    """All that a scheduler asks of Tune's trial."""

    def __init__(self, trial_id: str):
        self.trial_id = trial_id


def test_a_scheduler_goes_on_from_the_journal() -> None:
    asha = Asha(min_epochs=1, reduction=3)
    live, resumed = (make_scheduler(asha, epochs=9) for _ in range(2))
    for trial, score in (("t000", 0.5), ("t001", 0.7)):
        assert live.on_trial_result(None, NamedTrial(trial), {"epoch": 1, "score": score}) == "CONTINUE"
        event = {"event": "epoch", "trial": trial, "report": {"epoch": 1, "metrics": {"score": score}}}
        live.hear(event)
        resumed.hear(event)
    for scheduler in (live, resumed):
        assert scheduler.on_trial_result(None, NamedTrial("t002"), {"epoch": 1, "score": 0.6}) == "STOP"
        assert scheduler.reasons == {"t002": "after epoch 1 its score 0.6 was below the best third's 0.7"}
        assert scheduler.on_trial_result(None, NamedTrial("t001"), {"epoch": 1, "score": 0.1}) == "CONTINUE"
    make_scheduler(None, epochs=9).hear({"event": "search_started"})
