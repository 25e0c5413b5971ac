"""The writer's process: whatever is killed, MLflow ends up with what the journal says."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.runs.journal import FILE_NAME, Journal
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.process import start_writer
from orchestrator.tracking.uri import sqlite_uri
from tests.orchestrator.journals import search_events, write_journal

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's

Read = Callable[..., dict[str, dict[str, Any]]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_points(seed: int, tmp_path: Path, store: str, content: Read) -> None:
    """However often the writer is killed, MLflow ends up with what an undisturbed one tells."""
    draw = random.Random(seed)
    Follower(write_journal(tmp_path / "undisturbed", list(search_events(store))), None).run()
    uri = sqlite_uri(tmp_path / "not" / "yet" / "there.db")
    events = list(search_events(uri))

    directory = tmp_path / "digits-pair-001"
    directory.mkdir()
    command = [
        sys.executable,
        "-m",
        "orchestrator.tracking.writer",
        str(directory),
        "--parent",
        str(os.getpid()),
    ]
    lives = 5
    for life in range(lives):
        writer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        killed_at = time.monotonic() + draw.uniform(1.0, 4.0)
        for event in events[life * len(events) // lives : (life + 1) * len(events) // lives]:
            with (directory / FILE_NAME).open("a") as journal:
                journal.write(json.dumps(event) + "\n")
            time.sleep(0.05)
        if life == lives - 1:
            assert writer.wait(60) == 0
        else:
            time.sleep(max(0.0, killed_at - time.monotonic()))
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
    assert content(uri) == content(store)
    assert [path.name for path in (tmp_path / "not" / "yet").iterdir() if path.name.startswith(".")] == []


def test_writer_process_follows_a_live_journal_and_ends(tmp_path: Path, store: str, content: Read) -> None:
    directory = tmp_path / "digits-pair-001"
    directory.mkdir()
    with Journal(directory) as journal:
        writer = start_writer(directory)
        for event in search_events(store, trials=3):
            fields = {key: value for key, value in event.items() if key not in ("event", "time")}
            journal.append(event["event"], **fields)
        status = writer.finish(timeout=60)
    assert status.drained
    assert status.error is None
    assert len(content(store)) == 4
    assert set(status.state.runs) == {"", "t000", "t001", "t002"}
    until = time.monotonic() + 60
    while writer.status().running:  # it looks for pictures to attach, for which nobody waits
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_a_killed_search_left_running_is_closed(tmp_path: Path, store: str, content: Read) -> None:
    directory = tmp_path / "digits-pair-001"
    directory.mkdir()
    events = [event for event in search_events(store) if event["event"] != "search_ended"][:12]
    program = f"""
import json, os, pathlib, time
from orchestrator.tracking.process import start_writer
writer = start_writer(pathlib.Path({str(directory)!r}))
with open({str(directory / FILE_NAME)!r}, "w") as journal:
    journal.writelines(json.dumps(event) + chr(10) for event in {events!r})
print(writer.pid, flush=True)
os._exit(9)
"""
    search = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert search.returncode == 9
    deadline = time.monotonic() + 60
    while _lives(int(search.stdout)) and time.monotonic() < deadline:
        time.sleep(0.1)
    runs = content(store)
    assert runs["digits-pair-001"]["status"] == "KILLED"
    reasons = {run["tags"].get("equipoise.reason") for run in runs.values() if run["status"] == "KILLED"}
    assert "the process of the search died" in reasons
    assert "RUNNING" not in {run["status"] for run in runs.values()}


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


GENTLE = """
import sys
from orchestrator.tracking import writer
writer.SHORT_SECONDS = 1.0
writer.main(sys.argv[1:])
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="Linux shares cores by session here")
def test_after_a_short_search_could_have_ended_training_comes_first(tmp_path: Path) -> None:
    """Its niceness alone would count among its own threads only."""
    directory = write_journal(tmp_path / "digits-pair-001", [])
    command = [sys.executable, "-c", GENTLE, str(directory), "--parent", str(os.getpid())]
    writer = subprocess.Popen(command, start_new_session=True)
    try:
        autogroup = Path(f"/proc/{writer.pid}/autogroup")
        assert autogroup.read_text().endswith(" nice 0\n")
        deadline = time.monotonic() + 60
        while not autogroup.read_text().endswith(" nice 10\n"):
            assert writer.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert psutil.Process(writer.pid).nice() == 10
    finally:
        writer.kill()
        writer.wait()
