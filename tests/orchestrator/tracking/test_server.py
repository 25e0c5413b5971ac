"""A real MLflow server that is killed and comes back: everything arrives once, with its original time."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.resuming.resumption import resume
from orchestrator.runs.journal import Journal, read_journal
from orchestrator.tracking import follower
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.process import start_writer
from orchestrator.tracking.uri import unreachable
from tests.end_to_end.commands import environment
from tests.orchestrator.journals import search_events, write_journal

Read = Callable[[str], dict[str, dict[str, Any]]]
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@contextlib.contextmanager
def server(database: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mlflow server` with one worker, once it answers; gone with all its processes afterwards."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environment({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}),
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while unreachable(f"http://127.0.0.1:{port}", timeout=1) is not None:
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_that_is_killed_and_comes_back_is_told_everything_once(
    tmp_path: Path, store: str, empty_database: Path, content: Read
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = f"sqlite:///{tmp_path / 'served.db'}"
    (tmp_path / "served.db").write_bytes(empty_database.read_bytes())
    directory = tmp_path / "digits-pair-001"
    directory.mkdir()
    events = list(search_events(f"http://127.0.0.1:{port}"))
    third = len(events) // 3
    with Journal(directory) as journal:
        with server(database, tmp_path, port):
            writer = start_writer(directory)
            append(journal, events[:third])
            assert writer.wait_until_drained(60)
            append(journal, events[third : third + 5])
            time.sleep(0.5)  # in the middle of being told, or just before
        append(journal, events[third + 5 : 2 * third])
        deadline = time.monotonic() + 60
        while writer.status().error is None:
            assert time.monotonic() < deadline, "the outage was not noticed"
            time.sleep(0.1)
        with server(database, tmp_path, port):
            append(journal, events[2 * third :])
            assert writer.finish(timeout=120, outage_timeout=60).drained
            found = content(f"http://127.0.0.1:{port}")
    told = list(read_journal(directory))
    told[0]["tracking_uri"] = store
    Follower(write_journal(tmp_path / "undisturbed", told), None).run()
    expected = content(store)
    for run in (*found.values(), *expected.values()):
        run["tags"].pop("equipoise.lease", None)
    assert found == expected


def test_a_server_that_comes_back_only_when_the_writer_has_given_up_is_told_everything_by_a_resume(
    tmp_path: Path, store: str, empty_database: Path, content: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "GIVE_UP_SECONDS", 0.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = f"sqlite:///{tmp_path / 'served.db'}"
    (tmp_path / "served.db").write_bytes(empty_database.read_bytes())
    directory = tmp_path / "digits-pair-001"
    directory.mkdir()
    events = list(search_events(f"http://127.0.0.1:{port}"))
    with Journal(directory) as journal:
        append(journal, events[:30])
        with server(database, tmp_path, port):
            assert Follower(directory, None).run() == 0
        append(journal, events[30:])
    assert Follower(directory, None).run() == 1
    with server(database, tmp_path, port):
        assert resume(directory).told
        found = content(f"http://127.0.0.1:{port}")
    told = list(read_journal(directory))
    told[0]["tracking_uri"] = store
    Follower(write_journal(tmp_path / "undisturbed", told), None).run()
    assert found == content(store)


def append(journal: Journal, events: list[dict[str, Any]]) -> None:
    for event in events:
        journal.append(event["event"], **{k: v for k, v in event.items() if k not in ("event", "time")})
