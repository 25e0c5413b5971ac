"""Starts and watches the process that tells MLflow (`orchestrator.tracking.writer`). Imports none itself."""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.report.search_log import read_search
from orchestrator.tracking.owed import owed
from orchestrator.tracking.state import TrackingState, forget_error, read_state, untold

LOG_NAME = "tracking.log"
_POLL_SECONDS = 0.01
_RESTARTS = 3
ATTACHMENT_SHARE, SHORT_SECONDS, ATTACHMENT_SECONDS = 0.02, 60.0, 60.0
"""How much longer the end of a run waits for pictures and models: for so much of its time, short runs not at all, and
at most so long. The writer goes on with the rest by itself."""

_still_telling: list[subprocess.Popen[bytes]] = []
"""Writers that outlive their search in this process; collected when the next one starts."""


@dataclass(frozen=True)
class WriterStatus:
    """How things stand between a journal and MLflow."""

    running: bool
    """Whether the writer is at work."""
    pending: int
    """Bytes of the journal that MLflow has not acknowledged."""
    error: str | None
    """Why nothing is being written at present; the writer keeps trying."""
    state: TrackingState
    """MLflow's experiment and run ids."""

    @property
    def drained(self) -> bool:
        """Whether MLflow was told everything."""
        return self.pending == 0


class WriterProcess:
    """The writer of one search (`start_writer`). It outlives us until everything is told."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._restarts = 0
        self._began = time.monotonic()
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def status(self) -> WriterStatus:
        """The present state, read from the search's folder."""
        state = read_state(self._directory)
        pending = untold(self._directory, state)
        return WriterStatus(self._process.poll() is None, pending, state.error, state)

    def wait_until_drained(self, timeout: float) -> bool:
        """Wait until MLflow was told all that is in the journal, at most `timeout` seconds.

        A writer that died is started again. After a False it goes on by itself, also when this process ends.
        """
        return self._wait(timeout, timeout)

    def finish(self, timeout: float = 120.0, outage_timeout: float = 3.0) -> WriterStatus:
        """Wait for the end of a search to be told; less long if MLflow cannot be reached at present.

        What is left in the journal is not lost: the writer keeps trying for ten minutes after our end, and
        `tell_rest` finishes at any time.
        """
        # Who presses Ctrl-C here does not want to wait; the search itself is over.
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            told = self._wait(timeout, outage_timeout)
            elapsed = time.monotonic() - self._began
            if told and elapsed > SHORT_SECONDS:
                self._process.wait(min(ATTACHMENT_SHARE * elapsed, ATTACHMENT_SECONDS))
        if self._process.poll() is None:
            _still_telling.append(self._process)
        return self.status()

    def _wait(self, timeout: float, outage_timeout: float) -> bool:
        began = time.monotonic()
        while True:
            status = self.status()
            if status.drained:
                return True
            if time.monotonic() - began >= (timeout if status.error is None else outage_timeout):
                return False
            if not status.running:
                if self._restarts == _RESTARTS:
                    return False
                self._restarts += 1
                self._process = self._start()
            time.sleep(_POLL_SECONDS)

    def stop(self, timeout: float = 5.0) -> None:
        """End the writer now; what is untold stays in the journal."""
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        _still_telling[:] = [process for process in _still_telling if process.poll() is None]
        command = [sys.executable, "-m", "orchestrator.tracking.writer", str(self._directory)]
        forget_error(self._directory)
        with (self._directory / LOG_NAME).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own module
                [*command, "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for the search, which has more to say
            )


def start_writer(directory: Path) -> WriterProcess:
    """Start telling MLflow about the search in `directory`.

    Call it as soon as the folder exists, so that the writer's imports overlap with other preparations. On a
    resume it waits for what is new, for as long as this process lives.
    """
    return WriterProcess(directory.resolve())


def tell_rest(directory: Path, patience: float = 0.0) -> bool:
    """Have MLflow told what it was not told of a run that has ended; whether it knows all events then.

    Waits as the end of a run does: not long if MLflow cannot be reached, and then the writer tries on by itself. So it
    does with pictures and models that an earlier writer has left undone, which are waited for `patience` seconds.
    """
    if read_search(directory).told and not lacking(directory):
        return True
    writer = start_writer(directory)
    told = writer.finish().drained
    record, until = read_search(directory), time.monotonic() + patience
    while told and time.monotonic() < until and writer.status().running:
        if not owed(record, read_state(directory)):
            writer.stop()  # else it would wait for more of what is over
        time.sleep(_POLL_SECONDS)
    return told


def lacking(directory: Path) -> list[str]:
    """Trials of a run that is over whose pictures or models MLflow lacks."""
    return [trial.trial for trial in owed(read_search(directory), read_state(directory))]
