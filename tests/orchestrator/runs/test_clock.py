"""The times of a run are those of a clock that nobody can set."""

import time
from pathlib import Path

import pytest

from orchestrator.runs.clock import Clock
from orchestrator.runs.journal import Journal

DAY = 86_400


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_between_two_events_lies_what_has_passed(
    jump: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    with Journal(tmp_path) as journal:
        first = journal.append("epoch")["time"]
        assert abs(first - right()) < 60
        monkeypatch.setattr(time, "time", lambda: right() + jump)
        assert 0 <= journal.append("epoch")["time"] - first < 60
        assert abs(journal.append("epoch", ago=30)["time"] - first + 30) < 20
    assert abs(Clock().now() - right() - jump) < 60
