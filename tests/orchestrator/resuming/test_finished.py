"""`equipoise resume` of a run that is over: the ending once more, the run's own exit code, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.runs.journal import FILE_NAME
from orchestrator.tracking.state import TrackingState, write_state
from tests.orchestrator.journals import search_events, write_journal

NAME = "digits-pair-001"


def finished(storage: Path, failed: set[str], **shape: Any) -> Path:
    """A run that is over, of which MLflow was told everything; the trials in `failed` have failed."""
    events = list(search_events(**shape))
    for event in events:
        if event["event"] == "trial_ended":
            event["status"] = "failed" if event["trial"] in failed else "completed"
    directory = write_journal(storage / NAME, events)
    write_state(directory, TrackingState(offset=(directory / FILE_NAME).stat().st_size))
    return directory


@pytest.mark.parametrize(
    ("shape", "failed", "code"),
    [
        ({"trials": 3}, set(), 0),
        ({"trials": 3}, {"t001"}, 4),
        ({"trials": 3}, {"t000", "t001", "t002"}, 1),
        ({"trials": 1, "kind": "train"}, set(), 0),
        ({"trials": 1, "kind": "train"}, {"t000"}, 1),
    ],
)
def test_it_ends_as_the_run_did_however_often(
    shape: dict[str, Any], failed: set[str], code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = finished(tmp_path, failed, **shape)
    before = {path: path.read_bytes() for path in directory.iterdir()}
    for _ in range(2):
        done = CliRunner().invoke(app, ["resume", NAME, "--storage", str(tmp_path)])
        assert done.exit_code == code, done.output
        said = done.output + capfd.readouterr().out
        assert f"{NAME} finished" in said
        for trial in failed:
            assert trial in said.split("failed (")[1].split(")")[0]
        told = CliRunner().invoke(app, ["resume", NAME, "--storage", str(tmp_path), "--json"])
        assert told.exit_code == code
        (line,) = (told.stdout + capfd.readouterr().out).splitlines()
        assert json.loads(line)["event"] == f"{shape.get('kind', 'search')}_finished"
    after = {path: path.read_bytes() for path in directory.iterdir() if path.name != "driver.lock"}
    assert after == before
