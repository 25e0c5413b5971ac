"""MLflow stays away for longer than any writer waits: resuming the run, or the doctor, tells it everything, once."""

import contextlib
import dataclasses
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.doctor import runs as doctor
from orchestrator.doctor.finding import Finding
from orchestrator.doctor.runs import runs
from orchestrator.report.ending import print_ending
from orchestrator.report.search_log import read_search
from orchestrator.resuming.resumption import resume
from orchestrator.runs.journal import FILE_NAME
from orchestrator.tracking import follower
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.process import lacking, start_writer
from orchestrator.tracking.state import LOCK_NAME, forget_error, is_being_told, read_state, untold
from orchestrator.tracking.uri import sqlite_uri
from tests.orchestrator.journals import search_events, write_journal
from tests.orchestrator.tracking.trained import TrainedSearch

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's

Read = Callable[..., dict[str, dict[str, Any]]]
NAME = "digits-pair-001"


class Outage:
    """A finished run whose store is away, and whose writer has given up waiting for it."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / "store"
        self._place.touch()  # a file where a folder has to be
        self.uri = sqlite_uri(self._place / "mlflow.db")
        self.storage = folder / "equipoise_runs"
        self.run = write_journal(self.storage / NAME, list(search_events(self.uri)))
        assert Follower(self.run, None).run() == 1

    def end(self, empty_database: Path) -> None:
        self._place.unlink()
        self._place.mkdir()
        (self._place / "mlflow.db").write_bytes(empty_database.read_bytes())

    def doctor(self, *, fix: bool = False) -> list[Finding]:
        return [found for found in runs(self.storage, None, fix=fix) if found.code != "runs"]


@pytest.fixture
def outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    monkeypatch.setattr(follower, "GIVE_UP_SECONDS", 0.0)
    found = Outage(tmp_path)
    yield found
    for child in psutil.Process().children():  # writers that still wait
        with contextlib.suppress(psutil.NoSuchProcess):
            if str(found.run) in child.cmdline():
                child.kill()


@pytest.fixture
def undisturbed(tmp_path: Path, store: str, content: Read) -> dict[str, dict[str, Any]]:
    """What MLflow knows of such a run if it never was away."""
    Follower(write_journal(tmp_path / NAME, list(search_events(store))), None).run()
    return content(store)


def test_resuming_a_finished_run_tells_the_rest_with_the_original_times(
    outage: Outage, empty_database: Path, content: Read, undisturbed: dict[str, dict[str, Any]]
) -> None:
    assert read_state(outage.run).error is not None
    assert not resume(outage.run).told, "it is away"
    outage.end(empty_database)
    journal = (outage.run / FILE_NAME).read_bytes()
    assert resume(outage.run).told
    assert content(outage.uri) == undisturbed
    assert (outage.run / FILE_NAME).read_bytes() == journal
    assert resume(outage.run).told
    assert content(outage.uri) == undisturbed


def test_a_run_that_was_told_is_resumed_without_a_writer(tmp_path: Path, store: str) -> None:
    directory = write_journal(tmp_path / NAME, list(search_events(store)))
    Follower(directory, None).run()
    assert resume(directory).told
    assert not (directory / "tracking.log").exists()


def test_the_doctor_names_such_runs_and_tells_them(
    outage: Outage, empty_database: Path, content: Read, undisturbed: dict[str, dict[str, Any]]
) -> None:
    for fix in (False, True):
        (found,) = outage.doctor(fix=fix)
        assert (found.code, found.status) == ("untold-run", "warning")
        assert f"MLflow was not told all of {NAME}: " in found.message
        assert "equipoise doctor --fix" in found.cure
    outage.end(empty_database)
    (found,) = outage.doctor(fix=True)
    assert (found.code, found.status) == ("untold-run", "ok")
    assert content(outage.uri) == undisturbed
    assert outage.doctor() == []


def test_the_ending_says_what_finishes(outage: Outage) -> None:
    done = CliRunner().invoke(app, ["resume", NAME, "--storage", str(outage.storage)])
    assert "not told everything yet; to finish: equipoise resume" in " ".join(done.output.split())


def test_of_a_run_that_may_go_on_the_doctor_tells_the_rest(
    outage: Outage, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume would train."""
    print_ending(dataclasses.replace(read_search(outage.run), status="interrupted"))
    printed = "".join(capsys.readouterr().out.split())  # long paths are folded
    assert f"tofinish:equipoisedoctor--fix--storage{outage.storage}" in printed
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["doctor", "--json", "--storage", str(outage.storage)])
    assert '"code": "untold-run"' in found.stdout


def test_an_error_is_forgotten_unless_a_writer_is_still_at_it(outage: Outage) -> None:
    with (outage.run / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        forget_error(outage.run)
        assert read_state(outage.run).error is not None
    forget_error(outage.run)
    assert read_state(outage.run).error is None
    assert untold(outage.run, read_state(outage.run)) == (outage.run / FILE_NAME).stat().st_size
    assert not read_search(outage.run).told


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_a_killed_writer_has_not_drawn_a_resume_or_the_doctor_have_drawn(
    tmp_path: Path, store: str, trained_search: TrainedSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor, "PATIENCE_WITH_PICTURES", 200.0
    )  # a writer is nice: on a busy machine it waits
    run = trained_search.write(tmp_path / "runs" / NAME, store)
    first = start_writer(run)
    killed_after(run, first.pid, pictures=2)
    first.stop()
    (found,) = runs(run.parent, None, fix=False)
    assert (found.code, found.status) == ("undrawn-run", "warning")
    assert found.message == f"MLflow lacks pictures or models of {len(lacking(run))} trials of {NAME}"

    assert resume(run).told  # goes on with them, and waits for nothing
    (writer,) = (child for child in psutil.Process().children() if str(run) in child.cmdline())
    killed_after(run, writer.pid, pictures=4)
    assert lacking(run)

    (found,) = runs(run.parent, None, fix=True)
    assert (found.code, found.status) == ("undrawn-run", "ok")
    state = read_state(run)
    assert (len(state.pictured), lacking(run)) == (11, [])
    assert {own.trial for own in read_search(run).front} <= state.models.keys()
    (found,) = runs(run.parent, None, fix=False)
    assert (found.code, found.status) == ("runs", "ok")


def killed_after(run: Path, writer: int, *, pictures: int) -> None:
    """SIGKILL for a writer that has told all events, and made so many trials' pictures."""
    deadline = time.monotonic() + 60
    while untold(run, state := read_state(run)) or len(state.pictured) < pictures:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    psutil.Process(writer).kill()
    psutil.Process(writer).wait()
    assert not is_being_told(run)
