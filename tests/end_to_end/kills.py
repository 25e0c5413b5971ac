"""Runs that are killed where it hurts, and all that is known of a run afterwards."""

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from orchestrator.runs.journal import read_journal
from tests.end_to_end.commands import SCRIPT, environment

OF_THE_CLOCK = {"overall/images_per_s", "best/latency_ms", "best/model.latency_ms"}
"""Metrics that are not the same when something is done again."""


SAVING_OFTEN = (
    sys.executable,
    "-c",
    "from orchestrator.slots import trial_run as t; t.SECONDS_BETWEEN_CHECKPOINTS = 0.1; t.LARGEST_SHARE = 0.5\n"
    "from orchestrator.cli import main; main()",
)
"""`equipoise`, with a checkpoint after every epoch of trials in its own process."""


class Driver:
    """An `equipoise` command of a folder, whose one run is `<folder>/equipoise_runs/<name>`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *arguments: str,
        command: Sequence[str] = (SCRIPT,),
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.run = folder / "equipoise_runs" / name
        with (folder / "printed.txt").open("ab") as printed:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env=environment(extra),
                stdout=printed,
                stderr=printed,
                # A shell's background commands ignore SIGINT, and so would all that a test starts there.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def wait_for(self, happened: Callable[["Driver"], bool], *, seconds: float = 90.0) -> bool:
        """Wait until something has happened; False if the command ended before."""
        deadline = time.monotonic() + seconds
        while not happened(self):
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self.run.parent.parent.joinpath("printed.txt").read_text()
            time.sleep(0.0005)
        return True

    def kill(self) -> None:
        """SIGKILL, and wait until nothing that has been training is left."""
        self.process.send_signal(signal.SIGSTOP)  # at this very moment; to look around takes longer
        family = self.children()
        self.process.kill()
        self.process.wait()
        deadline = time.monotonic() + 30
        while any(_may_train(member) for member in family):
            assert time.monotonic() < deadline, "slots outlive their driver"
            time.sleep(0.05)

    def finish(self, *, seconds: float = 110.0) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def children(self) -> list[psutil.Process]:
        """All that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def processes(self, title: str) -> list[psutil.Process]:
        """Ray's processes of this command whose title begins so."""
        found = []
        for process in self.children():
            with contextlib.suppress(psutil.Error):
                if (process.cmdline() or [""])[0].startswith(title):
                    found.append(process)
        return found


@contextlib.contextmanager
def driver(
    folder: Path,
    name: str,
    *arguments: str,
    command: Sequence[str] = (SCRIPT,),
    extra: Mapping[str, str] | None = None,
) -> Iterator[Driver]:
    """A `Driver`, which does not outlive a test that fails."""
    started = Driver(folder, name, *arguments, command=command, extra=extra)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()


def wait_until(happened: Callable[[], bool], *, seconds: float = 90.0) -> None:
    """Wait until something has happened, of which no command of ours ends."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def writer_of(driver: Driver) -> psutil.Process:
    """The process that tells MLflow about a run."""
    (found,) = [
        child for child in driver.children() if "orchestrator.tracking.writer" in " ".join(child.cmdline())
    ]
    return found


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is over, which nobody may have taken note of yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def epochs(directory: Path) -> int:
    """How many epochs the journal has so far."""
    path = directory / "journal.jsonl"
    return path.read_bytes().count(b'{"event":"epoch"') if path.exists() else 0


def after_epochs(count: int, draw: random.Random) -> Callable[[Driver], bool]:
    """In the middle of an epoch: some time, shorter than one, after the journal has `count` of them."""
    reached: list[float] = []
    pause = draw.uniform(0.0, 0.3)

    def happened(driver: Driver) -> bool:
        if not reached and epochs(driver.run) >= count:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] >= pause

    return happened


def writing_a_checkpoint(driver: Driver) -> bool:
    """A state is half-written at this moment."""
    return bool(half_written(driver.run))


def half_written(directory: Path) -> list[Path]:
    """States that never became whole."""
    return list(directory.glob("trials/*/.last.*.tmp"))


def curves(directory: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Metrics by trial and epoch; an epoch that is recorded twice is an error."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for event in read_journal(directory):
        assert event["event"] != "epoch_differed", event
        if event["event"] == "epoch":
            key = (event["trial"], event["report"]["epoch"])
            assert key not in found, f"{key} is recorded twice"
            found[key] = event["report"]["metrics"]
    return found


def endings(directory: Path) -> dict[str, tuple[str, str]]:
    """Status and reason by trial; a trial that ends for good twice is an error."""
    found: dict[str, tuple[str, str]] = {}
    for event in read_journal(directory):
        if event["event"] == "trial_ended" and event["status"] != "interrupted":
            assert event["trial"] not in found, f"{event['trial']} ended twice"
            found[event["trial"]] = (event["status"], event["reason"])
    return found


def proposals(directory: Path) -> dict[str, Any]:
    """Searched values by trial; a trial that starts twice is an error."""
    found: dict[str, Any] = {}
    for event in read_journal(directory):
        if event["event"] == "trial_started":
            assert event["trial"] not in found, f"{event['trial']} started twice"
            found[event["trial"]] = event["config"]
    return found


def in_mlflow(database: Path) -> dict[str, Any]:
    """All that MLflow has of a folder's runs, by name, apart from ids and times."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ask = connection.execute
        names = dict(ask("select run_uuid, name from runs").fetchall())
        assert len(set(names.values())) == len(names), f"a run exists twice: {sorted(names.values())}"
        found: dict[str, Any] = {
            name: {"status": status}
            for name, status in ask("select name, status from runs where lifecycle_stage = 'active'")
        }
        for run, key, value in ask("select run_uuid, key, value from tags"):
            if key == "mlflow.parentRunId":
                found[names[run]]["parent"] = names[value]
            elif key in ("equipoise.status", "equipoise.reason", "equipoise.pareto", "equipoise.searched"):
                found[names[run]][key] = value
        for run, key, value in ask("select run_uuid, key, value from params"):
            found[names[run]][f"param {key}"] = value
        rows = ask(
            "select run_uuid, key, step, value, is_nan from metrics order by run_uuid, key, step, timestamp"
        )
        for run, key, *point in rows:
            if key not in OF_THE_CLOCK:
                found[names[run]].setdefault(f"metric {key}", []).append(tuple(point))
    return found


def lease(folder: Path) -> float:
    """Until when a folder's MLflow takes its run for alive, in seconds since 1970; 0 before it was told of it."""
    database = folder / "mlflow.db"
    if not database.exists():
        return 0.0
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        rows = connection.execute("select value from tags where key = 'equipoise.lease'").fetchall()
    return max((float(value) for (value,) in rows), default=0.0)


def _may_train(process: psutil.Process) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return command.startswith("ray::Trial") or "/raylet" in command
