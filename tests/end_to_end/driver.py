"""An `equipoise` command in a process of its own, watched and killed from outside."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.end_to_end.commands import SCRIPT, environment

SLOT = "ray::TrialTrainable"
"""How the process of a trial slot calls itself; with the method that it runs, while it runs one."""
IN_AN_EPOCH = SLOT + ".train"


@dataclass(frozen=True)
class Kill:
    """What the end of a driver came in the middle of."""

    training: bool
    """A slot was at an epoch, or at the state before it."""
    half_written: bool
    """A state that never became whole."""


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
        self._left = half_written(self.run)
        self._slots: list[psutil.Process] = []
        self._look_again = 0.0
        self._stopped: list[psutil.Process] = []
        with (folder / "printed.txt").open("ab") as printed:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env=environment(extra),
                stdout=printed,
                stderr=printed,
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

    def kill(self) -> Kill:
        """SIGKILL, also to slots that were stopped, and wait until nothing that has been training is left."""
        self.process.send_signal(signal.SIGSTOP)  # at this very moment; to look around takes longer
        training = self.is_training()
        family = self.children()
        for slot in self._stopped:  # first: the system wakes what is stopped in a group that loses its parent
            slot.kill()
        self.process.kill()
        self.process.wait()
        deadline = time.monotonic() + 30
        while any(_may_train(member) for member in family):
            assert time.monotonic() < deadline, "slots outlive their driver"
            time.sleep(0.05)
        return Kill(training=training, half_written=bool(self.half_written()))

    def is_training(self) -> bool:
        """Whether a slot is at an epoch, or at the state before it."""
        return any(_title(slot).startswith(IN_AN_EPOCH) for slot in self.slots())

    def slots(self) -> list[psutil.Process]:
        """The processes of its slots, looked for now and then until there are some: looking takes time."""
        if not self._slots and time.monotonic() > self._look_again:
            self._slots = self.processes(SLOT)
            self._look_again = time.monotonic() + 0.3
        return self._slots

    def half_written(self) -> list[Path]:
        """States that were begun since it started, and are not whole."""
        return [path for path in half_written(self.run) if path not in self._left]

    def stop_in_a_checkpoint(self) -> bool:
        """Stop its slots if a state is half-written; if one still is when they stand still, they stay so."""
        if not self.half_written():
            return False
        self._stopped = list(self.slots())
        for slot in self._stopped:
            slot.suspend()
        while any(slot.status() != psutil.STATUS_STOPPED for slot in self._stopped):
            time.sleep(0.001)  # a system call ends first
        if self._stopped and self.half_written():
            return True
        for slot in self._stopped:
            slot.resume()
        self._stopped = []
        return False

    def finish(self, *, seconds: float = 110.0) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def children(self) -> list[psutil.Process]:
        """All that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def processes(self, title: str) -> list[psutil.Process]:
        """Ray's processes of this command whose title begins so."""
        return [process for process in self.children() if _title(process).startswith(title)]


def writer_of(driver: Driver) -> psutil.Process:
    """The process that tells MLflow about a run."""
    (found,) = [
        child for child in driver.children() if "orchestrator.tracking.writer" in " ".join(child.cmdline())
    ]
    return found


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is over, which nobody may have taken note of yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


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


def half_written(directory: Path) -> list[Path]:
    """States that never became whole."""
    return list(directory.glob("trials/*/.last.*.tmp"))


def _title(process: psutil.Process) -> str:
    try:
        return (process.cmdline() or [""])[0]
    except psutil.Error:  # ended meanwhile
        return ""


def _may_train(process: psutil.Process) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return command.startswith(SLOT) or "/raylet" in command
