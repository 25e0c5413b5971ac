"""A real MLflow server that is killed and comes back: everything arrives once, with its original time."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.resuming.resumption import resume
from orchestrator.runs.journal import Journal, read_journal
from orchestrator.tracking import follower
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.process import start_writer
from orchestrator.tracking.uri import sqlite_uri, unreachable
from tests.end_to_end.commands import environment
from tests.orchestrator.journals import search_events, write_journal
from tests.orchestrator.tracking.browser import free_port

Read = Callable[[str], dict[str, dict[str, Any]]]
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Served:
    """A search whose journal names a server, and that server, which may come and go."""

    directory: Path
    events: list[dict[str, Any]]
    uri: str
    _folder: Path

    @contextlib.contextmanager
    def server(self) -> Iterator[None]:
        """`mlflow server` with one worker, once it answers; killed with all its processes afterwards."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--backend-store-uri", sqlite_uri(self._folder / "served.db")]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        command += ["--port", self.uri.rpartition(":")[2]]
        log = self._folder / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=environment({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}),
                cwd=self._folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 90
            while unreachable(self.uri, timeout=1) is not None:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def tell_undisturbed(self, store: str) -> None:
        """Tell the same journal, read from its file, to another store at one go."""
        events = list(read_journal(self.directory))
        events[0]["tracking_uri"] = store
        assert Follower(write_journal(self._folder / "undisturbed", events), None).run() == 0


@pytest.fixture
def served(tmp_path: Path, empty_database: Path) -> Served:
    shutil.copy(empty_database, tmp_path / "served.db")
    uri = f"http://127.0.0.1:{free_port()}"
    directory = tmp_path / "digits-pair-001"
    directory.mkdir()
    return Served(directory, list(search_events(uri)), uri, tmp_path)


def test_a_server_that_is_killed_and_comes_back_is_told_everything_once(
    served: Served, store: str, content: Read
) -> None:
    events, third = served.events, len(served.events) // 3
    with Journal(served.directory) as journal:
        with served.server():
            writer = start_writer(served.directory)
            append(journal, events[:third])
            assert writer.wait_until_drained(60)
            append(journal, events[third : third + 5])
            time.sleep(0.5)  # in the middle of being told, or just before
        append(journal, events[third + 5 : 2 * third])
        deadline = time.monotonic() + 60
        while writer.status().error is None:
            assert time.monotonic() < deadline, "the outage was not noticed"
            time.sleep(0.1)
        with served.server():
            append(journal, events[2 * third :])
            assert writer.finish(timeout=120, outage_timeout=60).drained
            found = content(served.uri)
    served.tell_undisturbed(store)
    assert found == content(store)


def test_a_server_that_comes_back_only_when_the_writer_has_given_up_is_told_everything_by_a_resume(
    served: Served, store: str, content: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "GIVE_UP_SECONDS", 0.0)
    with Journal(served.directory) as journal:
        append(journal, served.events[:30])
        with served.server():
            assert Follower(served.directory, None).run() == 0
        append(journal, served.events[30:])
    assert Follower(served.directory, None).run() == 1
    with served.server():
        assert resume(served.directory).told
        found = content(served.uri)
    served.tell_undisturbed(store)
    assert found == content(store)


def append(journal: Journal, events: list[dict[str, Any]]) -> None:
    for event in events:
        journal.append(event["event"], **{k: v for k, v in event.items() if k not in ("event", "time")})
