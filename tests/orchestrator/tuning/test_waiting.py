"""That trials wait for machines is told once, and only if they really do."""

from typing import Any

import pytest

from orchestrator.machines.resources import SlotPlan
from orchestrator.tuning import waiting
from orchestrator.tuning.periodic import SECONDS_BETWEEN_LOOKS
from orchestrator.tuning.waiting import WaitingForMachines


class Search:
    """What the callback sees of one, step by step: two seconds each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.room, self.begun = 2, 2
        self.told: list[dict[str, Any]] = []
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        plan = SlotPlan(slots=2, workers=2, cpus=1, gpus=0)
        self._waiting = WaitingForMachines(plan, lambda: self.room, lambda: self.begun, self._record)

    def _record(self, event: str, **fields: Any) -> None:
        assert event == "waiting_for_machines"
        self.told.append(fields)

    def go_on(self, seconds: float) -> None:
        """Let so much time pass."""
        until = self.now + seconds
        while self.now < until:
            self.now += SECONDS_BETWEEN_LOOKS
            self._waiting.on_step_begin(0, [])


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Search:
    return Search(monkeypatch)


def test_it_is_told_once_for_each_time_that_machines_are_missing(search: Search) -> None:
    search.go_on(60)
    assert search.told == []
    search.room = 1
    search.go_on(3600)
    each = {"workers": 2, "cpus": 1, "gpus": 0}
    assert search.told == [{"trials": 2, "room": 1, **each}]
    search.room = 2
    search.go_on(60)
    search.room = 0
    search.go_on(3600)
    assert search.told[1:] == [{"trials": 2, "room": 0, **each}]


def test_a_machine_that_is_replaced_at_once_and_a_search_that_ends_are_no_news(search: Search) -> None:
    search.room = 1
    search.go_on(waiting.SECONDS_OF_PATIENCE - 2)
    search.room = 2
    search.go_on(60)
    search.room, search.begun = 1, 1
    search.go_on(60)
    assert search.told == []
