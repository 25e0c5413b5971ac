"""That trials wait for room is told once, and only if they really do."""

import time
from typing import Any

import pytest

from orchestrator.errors import NotRecorded
from orchestrator.machines.resources import SlotPlan
from orchestrator.slots import waiting
from orchestrator.slots.waiting import WaitingForRoom

PLAN = SlotPlan(slots=2, workers=2, cpus=1, gpus=0)
EACH = {"workers": 2, "cpus": 1, "gpus": 0}


class Search:
    """What is looked at of one, every two seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.without_room, self.begun = 0, 2
        self.told: list[dict[str, Any]] = []
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self._waiting = WaitingForRoom(PLAN, lambda: self.begun, self._record, lambda: self.without_room)

    def _record(self, event: str, **fields: Any) -> None:
        assert event == "waiting_for_room"
        self.told.append(fields)

    def go_on(self, seconds: float) -> None:
        """Let so much time pass."""
        until = self.now + seconds
        while self.now < until:
            self.now += waiting.SECONDS_BETWEEN_LOOKS
            self._waiting.look()


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Search:
    return Search(monkeypatch)


def test_it_is_told_once_for_each_time_that_room_is_missing(search: Search) -> None:
    search.go_on(60)
    assert search.told == []
    search.without_room = 1
    search.go_on(3600)
    assert search.told == [{"trials": 2, "room": 1, **EACH}]
    search.without_room = 0
    search.go_on(60)
    search.without_room = 2
    search.go_on(3600)
    assert search.told[1:] == [{"trials": 2, "room": 0, **EACH}]


def test_a_machine_that_is_replaced_at_once_is_no_news(search: Search) -> None:
    search.without_room = 1
    search.go_on(waiting.SECONDS_OF_PATIENCE - 2)
    search.without_room = 0
    search.go_on(60)
    assert search.told == []


def test_a_slot_that_waits_after_its_trial_was_left_counts_as_one(search: Search) -> None:
    search.without_room, search.begun = 1, 0
    search.go_on(60)
    assert search.told == [{"trials": 1, "room": 0, **EACH}]


def test_it_is_looked_at_beside_what_waits_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(waiting, "SECONDS_OF_PATIENCE", 0.05)
    told: list[str] = []
    looks = 0

    def without_room() -> int:
        nonlocal looks
        looks += 1
        return 1

    def record(event: str, **fields: Any) -> None:
        told.append(event)

    with WaitingForRoom(PLAN, lambda: 1, record, without_room).looking():
        until = time.monotonic() + 20
        while not told and time.monotonic() < until:
            time.sleep(0.01)
    assert told == ["waiting_for_room"]
    after = looks
    time.sleep(0.05)
    assert looks == after


def test_where_it_cannot_be_recorded_what_waits_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(waiting, "SECONDS_OF_PATIENCE", 0.0)
    tried: list[str] = []

    def record(event: str, **fields: Any) -> None:
        tried.append(event)
        raise NotRecorded("the disk is full")

    with WaitingForRoom(PLAN, lambda: 1, record, lambda: 1).looking():
        until = time.monotonic() + 20
        while not tried and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
    assert tried == ["waiting_for_room"]
