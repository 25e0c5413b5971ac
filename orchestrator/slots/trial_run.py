"""One trial in a slot, with its checkpoints."""

import contextlib
import logging
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from orchestrator.redaction import redacted
from orchestrator.slots.base import Assignment, TrialSlot, WorkerLost
from orchestrator.slots.want_of_memory import ended_for_want_of_memory, reason_of
from trainables.errors import CheckpointError, OutOfMemory, StorageError, UserError
from trainables.training.report import EpochReport

log = logging.getLogger(__name__)

SECONDS_BETWEEN_CHECKPOINTS = 5.0
"""A training state is written at most this often: fast epochs cost less to repeat than to save."""
LARGEST_SHARE = 0.05
"""Of the time, that writing states may take: large ones are written less often."""

WORKER_LOSSES = 2
"""How often a trial goes on after its slot lost a worker, without having come further in between."""


class TrialRun:
    """Runs an assignment epoch by epoch.

    It goes on from `checkpoint`, else from the last one in the trial's folder, else starts afresh. The folder
    holds `best`, the model of the selected epoch, and `last`, a training state. When the slot loses a worker, the
    trial goes on from its last state; epochs that were reported before are run again, but not reported again. So
    it does when memory is out, once, with activations that are computed again: the numbers stay the same.
    """

    def __init__(self, slot: TrialSlot, assignment: Assignment, checkpoint: Path | None = None) -> None:
        self._slot = slot
        self._assignment = assignment
        self._best = assignment.directory / "best"
        self._last = assignment.directory / "last"
        self._losses_left = WORKER_LOSSES
        self._reported = 0
        self._epoch = 0
        self._next_save = 0.0
        self._state: Path | None = None
        self._unwritten = False  # an epoch was selected whose model is not on disk
        self.unsaved: str | None = None
        """Why what the trial has learned is not on disk at present, if so; the trial goes on."""
        self.short_of_memory: str | None = None
        """How the trial ran out of memory, if it did; it goes on with activations that are computed again."""
        if checkpoint is None and self._last.exists():
            checkpoint = self._last
        self._start(checkpoint)

    def run_epoch(self) -> EpochReport:
        """Train the next epoch, validate, and keep what is worth keeping.

        Raises:
            WorkerLost: more than `WORKER_LOSSES` times in this epoch.
            StorageError: it was the last one, and the selected model cannot be written.
        """
        return self._next_epoch(0.0)[0]

    def run_epochs(self, seconds: float) -> Iterator[EpochReport]:
        """As `run_epoch`, again and again for so long; all is on disk when there is no next one."""
        until = time.monotonic() + seconds
        more = True
        while more:
            report, more = self._next_epoch(until)
            yield report

    def _next_epoch(self, until: float) -> tuple[EpochReport, bool]:
        while True:
            try:
                report, more = self._run_epoch(until)
            except WorkerLost as loss:
                self._go_on_after(loss)
                continue
            except OutOfMemory as error:
                if self._assignment.config.training.recompute:
                    raise
                self._go_on_with_less(error.message)
                continue
            if report.epoch > self._reported:
                self._reported = report.epoch
                self._losses_left = WORKER_LOSSES
                return report, more

    def _run_epoch(self, until: float) -> tuple[EpochReport, bool]:
        """The next epoch, and whether another one follows at once."""
        try:
            report = self._slot.run_epoch()
        except WorkerLost:
            raise
        except Exception:  # the epochs before it are reported all the same
            with contextlib.suppress(Exception):
                self._write_best()
            raise
        self._epoch = report.epoch
        self._unwritten |= report.best
        more = not report.finished and time.monotonic() < until
        if not more:  # of epochs that are told together, the last that was selected
            try:
                self._write_best()
            except StorageError as error:  # tried again after the next epoch
                if report.finished:
                    raise
                self.unsaved = redacted(str(error))
        return report, more

    def _write_best(self) -> None:
        if self._unwritten:
            self._slot.save_best(self._best)
            self._unwritten = False

    def checkpoint_if_due(self) -> None:
        """Write the training state, if the last one is old enough.

        To be called before an epoch when those before it are recorded, and never else: a state of an epoch that the
        journal does not know would make that epoch lost to a resume. Nor is a state ahead of the selected model: who
        goes on from it selects only what is better.

        Raises:
            WorkerLost: more than `WORKER_LOSSES` times.
        """
        began = time.monotonic()
        if self._epoch == 0 or began < self._next_save:
            return
        try:
            self._write_best()
            self._slot.save(self._last)
        except WorkerLost as loss:
            self._go_on_after(loss)  # from the state before
            return
        except Exception as error:  # a full disk, say: what the trial has learned is not worth less for it
            self.unsaved = redacted(str(error))
        else:
            self._state, self.unsaved = self._last, None
        self._saved(began)

    def _saved(self, began: float) -> None:
        now = time.monotonic()
        self._next_save = now + max(SECONDS_BETWEEN_CHECKPOINTS, (now - began) / LARGEST_SHARE)

    def _start(self, checkpoint: Path | None) -> None:
        from trainables.training.state import remove_unfinished  # with torch, which a driver does without

        self._state = checkpoint
        self._epoch = 0
        self._unwritten = False
        self._saved(time.monotonic())
        remove_unfinished(self._assignment.directory)
        try:
            self._slot.start(self._assignment, checkpoint)
        except WorkerLost as loss:
            self._go_on_after(loss)
        except CheckpointError as error:
            if checkpoint != self._last:
                raise
            trial, why = self._assignment.trial, error.message
            log.warning("%s starts afresh, which gives the same epochs again: %s", trial, why)
            self._start(None)

    def _go_on_with_less(self, reason: str) -> None:
        self.short_of_memory = redacted(reason)
        log.warning("%s goes on with less memory: %s", self._assignment.trial, self.short_of_memory)
        self._assignment = replace(self._assignment, config=self._assignment.config.recomputing())
        self._start(self._state)

    def _go_on_after(self, loss: WorkerLost) -> None:
        if ended_for_want_of_memory(loss) and not self._assignment.config.training.recompute:
            self._go_on_with_less(reason_of(loss))
            return
        if self._losses_left == 0:
            raise loss
        self._losses_left -= 1
        self._start(self._state)


def explain_failure(error: Exception, directory: Path) -> str:
    """Why a trial failed, in a sentence; of what nobody foresaw, the traceback is in `directory`, the trial's."""
    if isinstance(error, UserError | WorkerLost):
        return redacted(str(error))
    reason = redacted(f"{type(error).__name__}: {error}")
    path = directory / "error.txt"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(redacted("".join(traceback.format_exception(error))))
    except OSError:
        return reason
    return f"{reason} (traceback in {path})"
