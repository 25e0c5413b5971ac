"""The main job: from one YAML file to compared trials in MLflow."""

import json
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.report.search_log import read_search, results_of
from tests.end_to_end.commands import EXPERIMENT, SCRIPT, a_mark, last_line, nothing_stays, repeatable, run


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which one search has been run from the command line, and the search's last line."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    mark = a_mark()
    ending = last_line(
        run(folder, "search", "experiment.yaml", "--json", "-s", "compute.slots=2", extra=mark)
    )
    assert nothing_stays(mark), "the private Ray has left processes behind"
    return folder, ending


def test_the_last_line_says_what_was_found(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, ending = searched
    assert ending["event"] == "search_finished"
    assert ending["search_id"] == "pairs-001"
    assert ending["trials"] == 4
    assert set(ending["pareto"]) <= {"t000", "t001", "t002", "t003"}
    assert ending["pareto"]
    assert 0 < ending["hypervolume"] < 1
    assert ending["reference"] == {"left.accuracy": 0, "right.accuracy": 0}
    assert ending["tracking_uri"] == f"sqlite:///{folder / 'mlflow.db'}"


def test_every_trial_has_its_epochs_checkpoint_and_metrics_of_one_epoch(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    folder, ending = searched
    record = read_search(folder / "equipoise_runs" / ending["search_id"])
    assert record.status == "completed"
    for trial in record.trials:
        assert trial.status == "completed"
        assert [report["epoch"] for report in trial.reports] == [1, 2]
        scores = [report["metrics"]["score"] for report in trial.reports]
        assert trial.best_epoch == scores.index(max(scores)) + 1
        assert trial.metrics == results_of(trial.reports[trial.best_epoch - 1])
        assert (record.directory / "trials" / trial.trial / "best").is_dir()


def test_show_tells_the_same(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, ending = searched
    shown = json.loads(run(folder, "show", ending["search_id"], "--format", "json").stdout)
    assert [trial["trial"] for trial in shown] == ["t000", "t001", "t002", "t003"]
    keys = {
        "trial",
        "status",
        "pareto",
        "epochs",
        "seconds",
        "train_seconds",
        "start_seconds",
        "config",
        "metrics",
    }
    assert all(keys | {"run_id"} == set(trial) for trial in shown)
    assert sorted(t["trial"] for t in shown if t["pareto"]) == sorted(ending["pareto"])
    assert all(0 < trial["train_seconds"] < trial["seconds"] for trial in shown)
    table = run(folder, "show").stdout
    assert all(trial["trial"] in table for trial in shown)
    assert run(folder, "show", "nothing").returncode == 2


def test_mlflow_has_one_parent_and_one_finished_run_per_trial(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, ending = searched
    with sqlite3.connect(folder / "mlflow.db") as database:
        runs = database.execute("select run_uuid, status from runs").fetchall()
        parents = database.execute("select value from tags where key = 'mlflow.parentRunId'").fetchall()
        epochs = database.execute(
            "select run_uuid, count(distinct step) from metrics where key = 'left/val_accuracy' group by run_uuid"
        ).fetchall()
    assert len(runs) == 5
    assert {status for _, status in runs} == {"FINISHED"}
    assert len(parents) == 4
    assert len({parent for (parent,) in parents}) == 1
    assert sorted(count for _, count in epochs) == [2, 2, 2, 2]
    shown = json.loads(run(folder, "show", ending["search_id"], "--format", "json").stdout)
    assert {trial["run_id"] for trial in shown} == {run_id for run_id, _ in epochs}


def test_the_same_seed_gives_the_same_search_from_python(
    searched: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ray_cluster: None,
) -> None:
    """In a process that is connected to Ray already, as in a notebook, with another number of slots."""
    folder, ending = searched
    monkeypatch.chdir(tmp_path)
    spec = orchestrator.load_spec(folder / "experiment.yaml", ["compute.slots=1"])
    events: list[str] = []
    result = orchestrator.run_search(spec, listeners=(lambda event: events.append(event["event"]),))
    first = read_search(folder / "equipoise_runs" / ending["search_id"])
    assert [trial.config for trial in result.trials] == [trial.config for trial in first.trials]
    ours, theirs = ([repeatable(trial.metrics) for trial in record.trials] for record in (result, first))
    assert ours == theirs
    assert events[0] == "search_started"
    assert events[-1] == "search_ended"
    frame = result.to_frame()
    assert list(frame["trial"]) == ["t000", "t001", "t002", "t003"]
    assert frame["left.accuracy"].between(0, 1).all()


def test_a_failing_trial_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(
        EXPERIMENT.replace(
            "model.backbone.width: {choice: [16, 32]}", "training.optimizer.lr: {choice: [3e-3, 1e9]}"
        )
    )
    done = run(
        tmp_path, "search", "experiment.yaml", "-s", "search.sampler=grid", "-s", "compute.slots=1", "--json"
    )
    assert done.returncode == 4, done.stderr
    shown = json.loads(run(tmp_path, "show", "--format", "json").stdout)
    assert {trial["status"] for trial in shown} == {"completed", "failed"}
    text = run(tmp_path, "show").stdout
    assert "failed" in text


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
def test_an_interrupted_search_keeps_what_it_did(tmp_path: Path, sent: signal.Signals) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace("epochs: 2", "epochs: 100"))
    process = subprocess.Popen(
        [SCRIPT, "search", "experiment.yaml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / "equipoise_runs" / "pairs-001" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and '"event":"epoch"' in journal.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(sent)
    _, complaint = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "Traceback" not in complaint
    record = read_search(journal.parent)
    assert record.status == "interrupted"
    assert {trial.status for trial in record.trials} == {"interrupted"}
    # Who presses Ctrl-C does not wait long for MLflow: the writer may still be at it.
    while not read_search(journal.parent).told:
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert {status for (status,) in database.execute("select status from runs")} == {"KILLED"}


def test_what_can_never_fit_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    done = run(tmp_path, "search", "experiment.yaml", "-s", "compute.slots=1", "-s", "compute.workers=99")
    assert done.returncode == 5
    assert "99 workers × 1 CPU = 99 CPU" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]
