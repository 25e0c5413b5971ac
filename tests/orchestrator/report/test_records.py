"""Records say what the journal says, and searches are found by what people type."""

import os
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.report.find import find_search
from orchestrator.report.search_log import flat, read_search, results_of
from orchestrator.runs.journal import FILE_NAME
from orchestrator.tracking.state import TrackingState, write_state
from tests.orchestrator.journals import search_events, write_journal


@pytest.fixture
def search(tmp_path: Path) -> Path:
    return write_journal(tmp_path / "digits-pair-001", list(search_events()))


def test_trials_and_front(search: Path) -> None:
    record = read_search(search)
    assert [trial.trial for trial in record.trials] == [f"t{n:03d}" for n in range(12)]
    assert {trial.status for trial in record.trials} == {"completed", "pruned", "failed"}
    assert record.objectives == ("left.accuracy", "right.accuracy")
    assert all(trial.status == "completed" for trial in record.front)
    first = [trial.metrics["left.accuracy"] for trial in record.front]
    assert first == sorted(first, reverse=True)
    assert record.balanced in record.front
    best = record.best("left.accuracy")
    assert best is not None
    assert best.metrics["left.accuracy"] == max(trial.metrics["left.accuracy"] for trial in record.candidates)
    assert 0 < record.hypervolume() < 1
    assert record.reference == {"left.accuracy": 0.0, "right.accuracy": 0.0}


def test_run_ids_come_from_the_writer(search: Path) -> None:
    assert read_search(search).run_id is None
    assert not read_search(search).told
    write_state(search, TrackingState(1, "7", {"": "parent", "t000": "child"}))
    record = read_search(search)
    assert (record.experiment_id, record.run_id, record.trials[0].run_id) == ("7", "parent", "child")


def test_a_search_that_was_killed(tmp_path: Path) -> None:
    events = list(search_events(end=False))[:9]
    directory = write_journal(tmp_path / "digits-pair-001", events)
    with (directory / FILE_NAME).open("a") as journal:
        journal.write('{"event": "trial_en')
    record = read_search(directory)
    assert record.status == "running"
    running = [trial for trial in record.trials if trial.status == "running"]
    assert running
    assert running[0].metrics == results_of(running[0].reports[-1])
    assert record.front == ()


def test_a_frame_has_a_row_per_trial(search: Path) -> None:
    frame = read_search(search).to_frame()
    assert len(frame) == 12
    assert {"trial", "pareto", "model.backbone.width", "left.accuracy", "run_id"} <= set(frame.columns)


def test_find_by_id_prefix_folder_and_default(tmp_path: Path) -> None:
    first = write_journal(tmp_path / "digits-pair-001", list(search_events()))
    later = [{**event, "time": event["time"] + 1e6} for event in search_events()]
    second = write_journal(tmp_path / "faces-001", later)
    os.utime(first / FILE_NAME)
    assert find_search(tmp_path) == second
    assert find_search(tmp_path, "digits-pair-001") == first
    assert find_search(tmp_path, "dig") == first
    assert find_search(tmp_path, str(first)) == first


@pytest.mark.parametrize(
    ("reference", "said"),
    [("nothing", "There are: b-001, a-002, a-001"), ("a", "Several searches begin with 'a'")],
)
def test_what_exists_is_listed(tmp_path: Path, reference: str, said: str) -> None:
    for age, name in enumerate(["a-001", "a-002", "b-001"]):
        write_journal(tmp_path / name, [{**event, "time": event["time"] + age} for event in search_events()])
    with pytest.raises(ConfigError) as caught:
        find_search(tmp_path, reference)
    assert said in str(caught.value)


def test_an_empty_storage_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="equipoise search"):
        find_search(tmp_path / "equipoise_runs")


def test_flat() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}
