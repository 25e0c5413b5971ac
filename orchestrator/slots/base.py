"""A trial slot: a warm place where trials run one after another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainables.config.trial import TrialConfig
from trainables.training.report import EpochReport


@dataclass(frozen=True)
class Assignment:
    """What a slot needs to know to run one trial."""

    trial: str
    config: TrialConfig
    data: Path
    """Directory of the prepared data (`trainables.data.prepared.load_prepared`)."""
    directory: Path
    """The trial's own folder, for its checkpoints."""


class TrialSlot(Protocol):
    """Runs one trial at a time, epoch by epoch. A failing trial leaves the slot usable for the next."""

    def start(self, assignment: Assignment, checkpoint: Path | None = None) -> None:
        """Begin a trial, or go on with it from a checkpoint that `save` wrote."""
        ...

    def run_epoch(self) -> EpochReport:
        """Train one epoch and validate."""
        ...

    def save(self, directory: Path) -> None:
        """Write all that an exact resume needs. Atomic: the directory holds a whole state or none."""
        ...

    def save_best(self, directory: Path) -> None:
        """Write the model of the selected epoch so far; also after an epoch that failed."""
        ...

    def close(self) -> None:
        """Give back processes and resources. May be called twice."""
        ...


class WorkerLost(Exception):  # noqa: N818 - named for what happened
    """A process of the slot died or hangs. The trial can go on: `start` with its last checkpoint."""


class RankFailed(Exception):  # noqa: N818 - named for what happened
    """The trainer failed on a rank with an error that is not the user's. The slot is usable."""
