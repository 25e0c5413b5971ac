"""The power fails while MLflow is told."""

import json
from pathlib import Path

import pytest

from orchestrator.runs.journal import FILE_NAME, Journal
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.state import read_state
from tests.orchestrator.journals import search_events
from tests.power import Disk

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's


def test_mlflow_is_told_nothing_that_could_be_lost(failing_disk: Disk, store: str) -> None:
    """Nor does the journal grow over a part of which MLflow's writer believes that it was told."""
    run = failing_disk.root / "run"
    run.mkdir()

    def survives(left: Path) -> None:
        state = read_state(left / "run")
        assert state.offset >= acknowledged
        if state.offset:
            assert state.offset <= (left / "run" / FILE_NAME).stat().st_size

    acknowledged = 0
    with Journal(run):
        pass
    failing_disk.survives = survives
    lines = [json.dumps(event) + "\n" for event in search_events(store, trials=1)]
    (run / FILE_NAME).write_text("".join(lines))  # not flushed: its process died before
    assert Follower(run, None).run() == 0
    acknowledged = read_state(run).offset
    assert acknowledged
    failing_disk.look()
