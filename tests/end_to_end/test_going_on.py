"""An interrupted search goes on; a trial can be run again; what was killed can be closed."""

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from orchestrator.report.search_log import read_search
from tests.end_to_end.commands import EXPERIMENT, last_line, run
from tests.end_to_end.driver import driver
from tests.end_to_end.kills import SAVING_OFTEN, epochs, wait_until
from tests.end_to_end.recorded import curves, endings

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of two trials that was interrupted in the first one's third epoch or later."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    settings = ("-s", "training.epochs=30", "-s", "search.trials=2", "-s", "compute.slots=1")
    with driver(folder, "pairs-001", "search", "experiment.yaml", *settings) as going:
        assert going.wait_for(lambda driver: epochs(driver.run) >= 2)
        refused = run(folder, "resume")
        assert refused.returncode == 5
        assert f"pairs-001 is conducted by process {going.process.pid} on " in refused.stderr
        going.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert going.finish() == 130
        assert time.monotonic() - began < 10
    return folder


def test_an_interrupted_search_says_how_to_go_on_and_mlflow_that_it_does_not_run(interrupted: Path) -> None:
    assert "equipoise resume pairs-001" in (interrupted / "printed.txt").read_text()

    def told() -> bool:  # by a writer that a busy machine may have made slower than the search's end
        with sqlite3.connect(interrupted / "mlflow.db") as database:
            if not database.execute("select 1 from sqlite_master where name = 'runs'").fetchall():
                return False
            return {status for (status,) in database.execute("select status from runs")} == {"KILLED"}

    wait_until(told)


def test_it_goes_on_and_then_is_over(interrupted: Path) -> None:
    directory = interrupted / "equipoise_runs" / "pairs-001"
    before = curves(directory)
    ending = last_line(run(interrupted, "resume", "pairs-001", "--json"))
    assert (ending["event"], ending["search_id"], ending["trials"]) == ("search_finished", "pairs-001", 2)
    after = curves(directory)
    assert before.items() <= after.items()
    assert set(after) == {(trial, epoch) for trial in ("t000", "t001") for epoch in range(1, 31)}
    assert {status for status, _ in endings(directory).values()} == {"completed"}
    with sqlite3.connect(interrupted / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)] * 3
    size = (directory / "journal.jsonl").stat().st_size
    assert last_line(run(interrupted, "resume", "--json")) == ending
    assert (directory / "journal.jsonl").stat().st_size == size


def test_a_trial_of_it_that_is_run_again_is_the_same_to_the_last_bit(interrupted: Path) -> None:
    again = run(interrupted, "rerun", "t001", "--check")
    assert again.returncode == 0, again.stderr
    assert "t001 of pairs-001: 30 epochs repeated, equal to the last bit" in again.stdout
    assert run(interrupted, "rerun", "t009").returncode == 2


def test_a_rerun_says_what_differs_and_what_has_changed(interrupted: Path) -> None:
    """Of a search whose records say something else, of a trial and of the version of torch."""
    other = interrupted / "equipoise_runs" / "pairs-002"
    other.mkdir()
    lines = (interrupted / "equipoise_runs" / "pairs-001" / "journal.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    events[0]["search_id"], events[0]["versions"]["torch"] = "pairs-002", "1.0.0"
    third = next(event for event in events if event["event"] == "epoch" and event["report"]["epoch"] == 3)
    third["report"]["metrics"]["left.accuracy"] += 1e-12
    for event in events:
        del event["crc"]
    (other / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    arguments = ("rerun", third["trial"], "--search", "pairs-002", "--check", "--json")
    again = run(interrupted, *arguments)
    assert again.returncode == 1, again.stderr
    found = json.loads(again.stdout)
    assert (found["equal"], found["differing_epoch"]) == (False, 3)
    assert list(found["differing"]) == ["left.accuracy"]
    assert found["changed"]["torch"][0] == "1.0.0"


def test_a_killed_training_is_closed_by_the_doctor_and_goes_on_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    arguments = ("train", "experiment.yaml", "-s", "training.epochs=40")
    with driver(tmp_path, "pairs-train-001", *arguments, command=SAVING_OFTEN) as going:
        assert going.wait_for(lambda driver: epochs(driver.run) >= 2)
        (writer,) = [
            child for child in going.children() if "orchestrator.tracking.writer" in " ".join(child.cmdline())
        ]
        told = tmp_path / "equipoise_runs" / "pairs-train-001" / "tracking.json"
        assert going.wait_for(lambda driver: told.exists() and '"t000"' in told.read_text())
        os.kill(writer.pid, signal.SIGKILL)  # as a power cut does: nobody is left to tell MLflow
        going.kill()
    assert runs_of(tmp_path) == [("RUNNING", "running")]
    assert '"code": "abandoned-run", "status": "warning"' in run(tmp_path, "doctor", "--json").stdout
    assert runs_of(tmp_path) == [("RUNNING", "running")]
    assert '"code": "abandoned-run", "status": "ok"' in run(tmp_path, "doctor", "--fix", "--json").stdout
    assert runs_of(tmp_path) == [("KILLED", "interrupted")]
    assert '"code": "runs", "status": "ok"' in run(tmp_path, "doctor", "--json").stdout
    ending = last_line(run(tmp_path, "resume", "--json"))
    assert (ending["event"], ending["epochs"]) == ("train_finished", 40)
    assert runs_of(tmp_path) == [("FINISHED", "completed")]
    record = read_search(tmp_path / "equipoise_runs" / "pairs-train-001")
    assert [report["epoch"] for report in record.trials[0].reports] == list(range(1, 41))


def runs_of(folder: Path) -> list[tuple[str, str]]:
    """MLflow's status of every run, and ours."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        found: list[tuple[str, str]] = database.execute(
            "select status, value from runs join tags using (run_uuid) where key = 'equipoise.status'"
        ).fetchall()
    return found
