"""MLflow holds what the journal says, once, however often it is told."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.runs.journal import FILE_NAME, read_journal
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.runs import SEARCH
from orchestrator.tracking.state import FILE_NAME as STATE_NAME
from orchestrator.tracking.state import read_state
from tests.orchestrator.journals import search_events, write_journal

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's

Read = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def search(tmp_path: Path, store: str) -> Path:
    return write_journal(tmp_path / "digits-pair-001", list(search_events(store)))


def test_statuses_are_true(told: dict[str, dict[str, Any]]) -> None:
    runs = told
    assert len(runs) == 13
    by_trial = {run["tags"].get("equipoise.trial", ""): run for run in runs.values()}
    assert {trial: run["status"] for trial, run in by_trial.items() if run["status"] != "FINISHED"} == {
        "t003": "KILLED",
        "t007": "FAILED",
    }
    assert by_trial["t003"]["tags"]["equipoise.status"] == "pruned"
    assert by_trial["t003"]["tags"]["equipoise.reason"] == "stopped after epoch 1: others did better"
    assert by_trial["t001"]["tags"]["equipoise.degraded"] == "6 steps with equal weights"
    assert "equipoise.degraded" not in by_trial["t000"]["tags"]
    assert by_trial["t007"]["tags"]["equipoise.reason"] == "loss of task right is nan at step 12"


def test_scheme_of_a_trial(told: dict[str, dict[str, Any]]) -> None:
    runs = told
    trial = next(run for run in runs.values() if run["tags"].get("equipoise.trial") == "t000")
    assert trial["tags"]["mlflow.parentRunId"] == "digits-pair-001"
    assert set(trial["metrics"]) == {
        *(
            f"{task}/{name}"
            for task in ("left", "right")
            for name in ("val_accuracy", "val_loss", "train_loss")
        ),
        *(f"{task}/{name}" for task in ("left", "right") for name in ("weight", "labels_seen")),
        "overall/score",
        "overall/lr",
        "overall/images_per_s",
        "conflict/left:right",
        *(f"best/{task}.{name}" for task in ("left", "right") for name in ("accuracy", "loss")),
        "best/score",
        "best/epoch",
        *("best/params_m", "best/flops_m", "best/latency_ms"),
    }
    assert [step for step, _, _ in trial["history"]["left/val_accuracy"]] == [1, 2, 3, 4]
    for name in ("best/score", "best/params_m"):
        assert [step for step, _, _ in trial["history"][name]] == [0]
    assert trial["metrics"]["best/latency_ms"] == 0.25
    assert trial["tags"]["mlflow.user"] == "ada"
    assert trial["files"] == ["config/resolved.yaml"]
    digests = ["0123456789abcdef01234567-train", "0123456789abcdef01234567-val"]
    assert trial["datasets"] == [("builtin:digits-pair", digest) for digest in digests], (
        "no test split in a trial"
    )
    assert len(runs["digits-pair-001"]["datasets"]) == 3
    assert trial["params"]["model.heads.left.hidden"] == "[64]"


def test_every_trial_has_the_same_params(told: dict[str, dict[str, Any]]) -> None:
    trials = [run for run in told.values() if run["tags"]["equipoise.kind"] == "trial"]
    keys = {frozenset(run["params"]) for run in trials}
    assert len(keys) == 1
    assert {"balancing.weights.left", "model.backbone.width", "training.optimizer.lr", "seed"} <= next(
        iter(keys)
    )
    assert len(next(iter(keys))) <= 40
    assert {(run["params"]["data.image_size"], run["params"]["compute.workers"]) for run in trials} == {
        ("12", "2")
    }
    assert all(value not in ("", "None", "null") for run in trials for value in run["params"].values())


def test_the_pareto_set_stands_out(told: dict[str, dict[str, Any]]) -> None:
    runs = told
    orange = {
        run["tags"]["equipoise.trial"]
        for run in runs.values()
        if run["tags"].get("equipoise.pareto") == "true"
    }
    assert orange
    note = runs["digits-pair-001"]["tags"]["mlflow.note.content"]
    assert all(f"| [{trial}](" in note for trial in orange)
    assert runs["digits-pair-001"]["metrics"]["best/hypervolume"] == 0.5


def test_the_table_of_trials_is_beside_the_note(search: Path, store: str, content: Read) -> None:
    assert Follower(search, None).run() == 0
    run_id = read_state(search).runs[SEARCH]
    path = MlflowClient(store).download_artifacts(run_id, "trials.csv")
    rows = list(csv.DictReader(Path(path).read_text().splitlines()))
    told = {run["tags"].get("equipoise.trial"): run for run in content(store).values()}
    assert [row["trial"] for row in rows] == [f"t{number:03d}" for number in range(12)]
    for row in rows:
        best = told[row["trial"]]["metrics"].get("best/left.accuracy")
        assert row["left.accuracy"] == ("" if best is None else str(best))
        assert row["run_id"]


def test_telling_twice_changes_nothing(search: Path, store: str, content: Read) -> None:
    Follower(search, None).run()
    once, ids = content(store), read_state(search).runs
    (search / STATE_NAME).unlink()
    assert Follower(search, None).run() == 0
    assert content(store) == once
    assert read_state(search).runs == ids


def test_a_torn_last_record_waits_for_its_rest(tmp_path: Path, store: str, content: Read) -> None:
    whole = write_journal(tmp_path / "whole", list(search_events(store)))
    torn = tmp_path / "digits-pair-001"
    torn.mkdir()
    text = (whole / FILE_NAME).read_bytes()
    cut = len(text) * 2 // 3
    (torn / FILE_NAME).write_bytes(text[:cut])
    assert Follower(torn, None).run() == 0
    assert read_state(torn).offset == text[:cut].rfind(b"\n") + 1
    (torn / FILE_NAME).write_bytes(text)
    assert Follower(torn, None).run() == 0
    assert len(content(store)) == 13


def test_one_training_is_one_run(tmp_path: Path, store: str, content: Read) -> None:
    events = list(search_events(store, trials=1, kind="train"))
    Follower(write_journal(tmp_path / "digits-pair-train-001", events), None).run()
    (run,) = content(store).values()
    assert run["tags"]["equipoise.kind"] == "train"
    assert run["status"] == "FINISHED"
    assert run["files"] == ["config/experiment.yaml", "config/resolved.yaml"]


def test_a_resumed_trial_continues_its_run(tmp_path: Path, store: str, content: Read) -> None:
    events = [event for event in search_events(store, trials=1) if event["event"] != "search_ended"]
    ended = {
        "event": "trial_ended",
        "trial": "t000",
        "status": "interrupted",
        "reason": "Ctrl-C",
        "best_epoch": 2,
    }
    stopped = {
        "event": "search_ended",
        "time": events[3]["time"] + 1,
        "status": "interrupted",
        "seconds": 3.0,
    }
    first = [*events[:4], {**ended, "time": events[3]["time"] + 1}, stopped]
    directory = write_journal(tmp_path / "digits-pair-001", first)
    Follower(directory, None).run()
    assert {run["status"] for run in content(store).values()} == {"KILLED"}
    again = [{"event": "trial_restarted", "trial": "t000", "time": stopped["time"] + 9}]
    repeated = {**events[3], "time": stopped["time"] + 10}  # epoch 2 once more
    rest = [{**event, "time": event["time"] + 60} for event in events[4:]]
    resumed = {**events[0], "time": stopped["time"] + 8}
    write_journal(directory, [*first, resumed, *again, repeated, *rest])
    Follower(directory, None).run()
    runs = content(store)
    assert len(runs) == 2
    (trial,) = (run for run in runs.values() if run["tags"]["equipoise.kind"] == "trial")
    assert trial["status"] == "FINISHED"
    assert [step for step, _, _ in trial["history"]["overall/score"]] == [1, 2, 3, 4]
    assert runs["digits-pair-001"]["status"] == "RUNNING"


def test_what_is_compared_is_told_once_however_often_the_search_was_interrupted(
    tmp_path: Path, store: str, content: Read
) -> None:
    """MLflow forgets no metric, so nothing is told of a trial or a search that may go on to something better."""
    events = list(search_events(store, trials=3))
    middle = len(events) // 2
    stopped = {"event": "search_ended", "status": "interrupted", "hypervolume": 0.1, "seconds": 1.0}
    directory = write_journal(
        tmp_path / "digits-pair-001", [*events[:middle], {**stopped, "time": events[middle]["time"]}]
    )
    Follower(directory, None).run()
    before = content(store)
    assert before["digits-pair-001"]["tags"]["equipoise.reason"] == "it was interrupted"
    assert {run["status"] for run in before.values()} <= {"KILLED", "FINISHED"}
    going_on = {"event": "search_resumed", "time": events[middle]["time"] + 1.0}
    interrupted = list(read_journal(directory))
    write_journal(directory, [*interrupted, going_on, *events[middle:]])
    Follower(directory, None).run()
    Follower(
        write_journal(tmp_path / "undisturbed", [events[0] | {"name": "other"}, *events[1:]]), None
    ).run()
    found, expected = content(store), content(store, "other")
    front = [name for name, run in found.items() if run["tags"].get("equipoise.pareto") == "true"]
    assert front == [name for name, run in expected.items() if run["tags"].get("equipoise.pareto") == "true"]
    for name, run in expected.items():
        assert found[name]["history"] == run["history"]
        assert found[name]["status"] == run["status"]
        assert found[name]["tags"]["equipoise.reason"] == run["tags"]["equipoise.reason"]


def test_trials_without_an_end_are_closed_with_the_search(tmp_path: Path, store: str, content: Read) -> None:
    events = list(search_events(store, trials=1))
    directory = write_journal(tmp_path / "digits-pair-001", [*events[:3], events[-1]])
    Follower(directory, None).run()
    (trial,) = (run for run in content(store).values() if run["tags"]["equipoise.kind"] == "trial")
    assert (trial["status"], trial["tags"]["equipoise.status"]) == ("KILLED", "interrupted")


def test_values_that_are_not_numbers(tmp_path: Path, store: str, content: Read) -> None:
    events = json.loads(
        json.dumps(list(search_events(store, trials=1))).replace('"left.loss": 0', '"left.loss": NaN, "_": 0')
    )
    Follower(write_journal(tmp_path / "digits-pair-001", events), None).run()
    assert any("best/left.loss" in run["metrics"] for run in content(store).values())


def test_a_run_deleted_by_hand_stops_nothing_else(tmp_path: Path, store: str, content: Read) -> None:
    from mlflow import MlflowClient

    events = list(search_events(store))
    directory = write_journal(tmp_path / "digits-pair-001", events[:20])
    Follower(directory, None).run()
    MlflowClient(tracking_uri=store).delete_run(read_state(directory).runs["t000"])
    write_journal(directory, events)
    assert Follower(directory, None).run() == 0
    assert len(content(store)) == 12
