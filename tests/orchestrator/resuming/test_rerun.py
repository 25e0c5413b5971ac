"""Trials that cannot be run again."""

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.resuming.rerun import rerun
from orchestrator.spec import parse_spec
from tests.end_to_end.commands import EXPERIMENT
from tests.orchestrator.journals import search_events, write_journal


def test_a_proposal_that_made_no_trial_cannot_be_run_again(tmp_path: Path) -> None:
    events = list(search_events())
    events[0] |= {
        "spec_text": EXPERIMENT,
        "overrides": [],
        "folder": str(tmp_path),
        "spec": parse_spec(EXPERIMENT).resolved(),
    }
    started = next(event for event in events if event["event"] == "trial_started")
    ended = next(e for e in events if e["event"] == "trial_ended" and e["trial"] == started["trial"])
    started["resolved"] = {"training": {"epochs": 0}}
    ended |= {"status": "failed", "reason": "training.epochs: 0 is too small"}
    directory = write_journal(tmp_path / "digits-001", events)
    with pytest.raises(ConfigError, match=r"could not be run then either: training.epochs: 0 is too small"):
        rerun(directory, started["trial"])
