"""What a journal says of where a run stands, however it was cut off."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError, EquipoiseError
from orchestrator.resuming.replay import History, read_history
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.journal import Event, Journal, read_journal
from orchestrator.runs.trial_log import TrialLog
from orchestrator.spec import parse_spec
from tests.end_to_end.commands import EXPERIMENT
from tests.orchestrator.journals import search_events, write_journal
from tests.trainables.synthetic import prepared
from trainables.errors import DataError
from trainables.training.report import EpochReport


def report(epoch: int, *, score: float = 0.5, finished: bool = False) -> dict[str, Any]:
    training = {"lr": 0.1, "images_per_second": 1000.0 * epoch}
    return dataclasses.asdict(
        EpochReport(epoch, {"score": score}, training, 0.5, best=True, finished=finished)
    )


def log_of(directory: Path, journal: Journal) -> TrialLog:
    """A log that has heard what there is."""
    log = TrialLog(RunFolder(directory, journal, []))
    for event in read_journal(directory):
        log.hear(event)
    return log


def ends(directory: Path) -> dict[str, str]:
    return {
        event["trial"]: event["status"]
        for event in read_journal(directory)
        if event["event"] == "trial_ended"
    }


def test_a_repeated_epoch_is_recorded_once(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        log = log_of(tmp_path, journal)
        log.begin("t000", 0, {}, {})
        for epoch in (1, 2, 3):
            log.epoch("t000", report(epoch), 0.25)
    with Journal(tmp_path) as journal:
        log = log_of(tmp_path, journal)
        log.begin("t000", 0, {}, {})
        for epoch in (2, 3, 4):
            log.epoch("t000", report(epoch), 9.0)
        log.end("t000", "completed")
    events = list(read_journal(tmp_path))
    assert [event["report"]["epoch"] for event in events if event["event"] == "epoch"] == [1, 2, 3, 4]
    assert "epoch_differed" not in {event["event"] for event in events}
    assert (events[-1]["start_seconds"], events[-1]["train_seconds"]) == (0.25, 2.0)


def test_that_memory_ran_out_is_recorded_once_and_with_epochs_that_went_well_before(tmp_path: Path) -> None:
    reason = "Out of memory on cpu."
    for epochs in ((1, 2), (2, 3)):
        with Journal(tmp_path) as journal:
            log = log_of(tmp_path, journal)
            log.begin("t000", 0, {}, {})
            for epoch in epochs:
                log.epoch("t000", report(epoch), 0.0)
                log.short_of_memory("t000", None if epoch == 1 else reason)
    said = [event for event in read_journal(tmp_path) if event["event"] == "short_of_memory"]
    assert [(event["trial"], event["reason"]) for event in said] == [("t000", reason)]


def test_a_repeated_epoch_that_differs_is_said(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        log = log_of(tmp_path, journal)
        log.begin("t000", 0, {}, {})
        log.epoch("t000", report(1), 0.0)
        log.epoch("t000", report(1, score=0.75), 0.0)
    last = list(read_journal(tmp_path))[-1]
    assert (last["event"], last["values"]) == ("epoch_differed", {"score": [0.5, 0.75]})


def test_epochs_that_the_journal_has_lost_are_an_error(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        log = log_of(tmp_path, journal)
        log.begin("t000", 0, {}, {})
        log.epoch("t000", report(1), 0.0)
        with pytest.raises(EquipoiseError, match="went on with epoch 3, but the journal knows only 1"):
            log.epoch("t000", report(3), 0.0)


def test_a_trial_of_which_only_the_end_is_missing_is_ended(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        log = log_of(tmp_path, journal)
        for number in range(4):
            log.begin(f"t{number:03d}", number, {}, {})
        log.epoch("t000", report(1, finished=True), 0.0)
        log.epoch("t001", report(1), 0.0)
        log.epoch("t002", report(1), 0.0)
        log.end("t003", "failed", "of itself")
    with Journal(tmp_path) as journal:
        log = log_of(tmp_path, journal)
        log.settle({"t001": "others were better"})
        assert ends(tmp_path) == {"t000": "completed", "t001": "pruned", "t003": "failed"}
        assert log.has_ended("t001")
        assert not log.has_ended("t002")


def test_an_interrupted_trial_can_go_on_and_is_not_interrupted_twice(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal, log_of(tmp_path, journal) as log:
        log.begin("t000", 0, {}, {})
    for _ in range(2):
        with Journal(tmp_path) as journal, log_of(tmp_path, journal):
            pass
    assert [event["event"] for event in read_journal(tmp_path)] == ["trial_started", "trial_ended"]
    with Journal(tmp_path) as journal, log_of(tmp_path, journal) as log:
        log.begin("t000", 0, {}, {})
        log.epoch("t000", report(1, finished=True), 0.0)
        log.end("t000", "completed")
    assert ends(tmp_path) == {"t000": "completed"}


def events_of(**change: Any) -> tuple[Event, ...]:
    events = list(search_events(trials=1))
    events[0] |= change
    return tuple(events)


@pytest.mark.parametrize(
    ("kind", "status", "trial", "is_over"),
    [
        ("search", "completed", "completed", True),
        ("search", "interrupted", "interrupted", False),
        ("search", "failed", "completed", False),
        ("train", "failed", "failed", True),
        ("train", "failed", "interrupted", False),
    ],
)
def test_what_can_go_on(kind: str, status: str, trial: str, is_over: bool) -> None:
    events = events_of(kind=kind)
    events[-2]["status"], events[-1]["status"] = trial, status
    assert History(Path(), events).is_over is is_over
    assert not History(Path(), events[:-1]).is_over


def test_the_time_between_two_lives_does_not_count() -> None:
    first, *rest = events_of()
    start = first["time"]
    first["began"] = start - 1.0
    resumed = {"event": "search_resumed", "time": start + 1002.0, "began": start + 1000.0}
    early, late = {**rest[0], "time": start + 5.0}, {**rest[1], "time": start + 1010.0}
    assert History(Path(), (first, early)).seconds == 6.0
    assert History(Path(), (first, early, resumed, late)).seconds == 16.0


def test_the_experiment_is_rebuilt_from_its_text(tmp_path: Path) -> None:
    spec = parse_spec(EXPERIMENT, overrides=["training.epochs=9"], folder=tmp_path)
    start = {
        "spec": spec.resolved(),
        "spec_text": spec.text,
        "overrides": list(spec.overrides),
        "folder": str(tmp_path),
        "versions": {"equipoise": "0.0.1"},
    }
    rebuilt = History(Path(), events_of(**start)).spec()
    assert rebuilt == spec
    assert rebuilt.folder == tmp_path
    older = {
        key: value for key, value in spec.resolved().items() if key != "balancing"
    }  # before there was such a key
    assert History(Path(), events_of(**start | {"spec": older})).spec() == spec
    changed = start | {"spec": {**spec.resolved(), "seed": 99}}
    with pytest.raises(ConfigError, match="something else to this version of Equipoise: seed") as refusal:
        History(Path(), events_of(**changed)).spec()
    assert "0.0.1" in refusal.value.hint


def test_an_experiment_that_was_built_in_python_is_rebuilt_from_its_values() -> None:
    spec = parse_spec(EXPERIMENT)
    rebuilt = History(Path(), events_of(spec=spec.resolved(), spec_text="")).spec()
    assert rebuilt.resolved() == spec.resolved()
    values = {"balancing.weights": {"left": 0.25, "right": 0.75}, "model.backbone.width": 32}
    assert rebuilt.trial_config_with(values) == spec.trial_config_with(values)


def test_other_data_are_refused() -> None:
    data = prepared(train=20, val=10)
    with pytest.raises(DataError, match="the data have changed"):
        History(Path(), events_of()).require_same(data)
    History(Path(), events_of(data={"digest": data.digest})).require_same(data)


def test_a_folder_without_a_first_record_holds_no_run(tmp_path: Path) -> None:
    directory = write_journal(tmp_path / "s-001", [])
    with pytest.raises(ConfigError, match="holds no run that could go on"):
        read_history(directory)
