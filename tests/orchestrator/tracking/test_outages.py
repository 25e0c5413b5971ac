"""While MLflow or the run's own folder cannot be written the writer waits, and loses nothing."""

import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.journal import FILE_NAME
from orchestrator.tracking.process import start_writer
from orchestrator.tracking.uri import database_path
from tests.orchestrator.journals import search_events, write_journal
from tests.orchestrator.tracking.browser import free_port

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's

Read = Callable[..., dict[str, dict[str, Any]]]


def test_an_outage_costs_nothing_and_sigterm_ends_it(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    directory = write_journal(tmp_path / "s-001", list(search_events(uri, trials=2)))
    writer = start_writer(directory)
    began = time.monotonic()
    while writer.status().error is None and time.monotonic() - began < 60:
        time.sleep(0.1)
    status = writer.finish(timeout=60, outage_timeout=0.2)
    assert status.running
    assert not status.drained
    assert status.error is not None
    assert "refused" in status.error
    began = time.monotonic()
    writer.stop()
    assert time.monotonic() - began < 3
    assert "waiting" in (directory / "tracking.log").read_text()


@pytest.mark.slow
def test_a_database_that_another_process_holds_for_long_is_told_everything_once(
    tmp_path: Path, store: str, content: Read, told: dict[str, dict[str, Any]]
) -> None:
    directory = tmp_path / "digits-pair-001"
    events = list(search_events(store))
    write_journal(directory, events[:20])
    database = database_path(store)
    assert database is not None
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as holder:
        writer = start_writer(directory)
        assert writer.wait_until_drained(60)
        holder.execute("BEGIN EXCLUSIVE")
        append(directory, events[20:])
        wait_for(lambda: writer.status().error is not None)
        assert "database is locked" in str(writer.status().error)
        assert writer.status().running
        holder.execute("ROLLBACK")
    assert writer.finish(timeout=60, outage_timeout=60).drained
    assert content(store) == told


def test_a_folder_that_cannot_be_written_for_a_while_changes_nothing_of_what_is_told(
    tmp_path: Path, store: str, content: Read, told: dict[str, dict[str, Any]]
) -> None:
    """How far MLflow was told cannot be kept meanwhile. The events are told again, which changes nothing."""
    directory = tmp_path / "digits-pair-001"
    events = list(search_events(store))
    write_journal(directory, events[:20])
    writer = start_writer(directory)
    assert writer.wait_until_drained(60)
    with unwritable(directory):
        append(directory, events[20:])
        wait_for(lambda: "waiting: " in (directory / "tracking.log").read_text())
        assert not writer.status().drained
        assert writer.status().running
    assert writer.finish(timeout=60, outage_timeout=60).drained
    assert content(store) == told


@contextlib.contextmanager
def unwritable(directory: Path) -> Iterator[None]:
    """Within the block nothing is made or replaced in the folder, not by root either; its open files go on."""
    if subprocess.run(["chattr", "+i", directory], capture_output=True).returncode:
        pytest.skip("no file system with attributes, or no right to set them")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", directory], check=True)


def append(directory: Path, events: list[dict[str, Any]]) -> None:
    with (directory / FILE_NAME).open("a") as journal:
        journal.writelines(json.dumps(event) + "\n" for event in events)


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)
