"""One trial in a slot, with its checkpoints."""

import time
from pathlib import Path

from orchestrator.slots.base import Assignment, TrialSlot
from trainables.training.report import EpochReport

SECONDS_BETWEEN_CHECKPOINTS = 30.0
"""A training state is written at most this often: fast epochs cost less to repeat than to save."""


class TrialRun:
    """Runs an assignment epoch by epoch.

    It goes on from `checkpoint`, else from the last one in the trial's folder, else starts afresh. The folder
    holds `best`, the model of the selected epoch, and `last`, a training state.
    """

    def __init__(self, slot: TrialSlot, assignment: Assignment, checkpoint: Path | None = None) -> None:
        self._slot = slot
        self._best = assignment.directory / "best"
        self._last = assignment.directory / "last"
        self._saved = time.monotonic()
        if checkpoint is None and self._last.exists():
            checkpoint = self._last
        slot.start(assignment, checkpoint)

    def run_epoch(self) -> EpochReport:
        """Train one epoch, validate, and keep what is worth keeping."""
        report = self._slot.run_epoch()
        if report.best:
            self._slot.save_best(self._best)
        if not report.finished and time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS:
            self._slot.save(self._last)
            self._saved = time.monotonic()
        return report
