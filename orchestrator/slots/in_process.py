"""One worker: the trainer lives in the process that runs the trial."""

from pathlib import Path

import torch

from orchestrator.slots.base import Assignment
from trainables.data.prepared import PreparedData, load_prepared
from trainables.training.report import EpochReport
from trainables.training.state import load_state, save_state
from trainables.training.trainer import Trainer
from trainables.training.world import World


class InProcessSlot:
    """A `TrialSlot` of one worker. Data stay mapped between trials that share them."""

    def __init__(self, *, cpus: int, gpus: float = 0) -> None:
        # Ray exports OMP_NUM_THREADS, and nested launchers do too; what the trial asked for is what counts.
        torch.set_num_threads(cpus)
        self._world = World.single(torch.device("cuda", 0) if gpus else torch.device("cpu"))
        self._data: PreparedData | None = None
        self._trainer: Trainer | None = None

    def start(self, assignment: Assignment, checkpoint: Path | None = None) -> None:
        """Build the trainer; with a checkpoint, go on from it."""
        self._trainer = None
        if self._data is None or self._data.directory != assignment.data:
            self._data = load_prepared(assignment.data)
        state = load_state(checkpoint) if checkpoint is not None else None
        self._trainer = Trainer(assignment.config, self._data, self._world, state=state)

    def run_epoch(self) -> EpochReport:
        """Train one epoch and validate."""
        return self._running.run_epoch()

    def save(self, directory: Path) -> None:
        """Write the training state."""
        save_state(self._running.state_dict(), directory)

    def save_best(self, directory: Path) -> None:
        """Write the model of the selected epoch so far."""
        self._running.save_best(directory)

    def close(self) -> None:
        """Forget the trainer and the data."""
        self._trainer = None
        self._data = None

    @property
    def _running(self) -> Trainer:
        if self._trainer is None:
            raise RuntimeError("no trial has been started in this slot")
        return self._trainer
