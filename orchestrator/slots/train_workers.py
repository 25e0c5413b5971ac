"""Several workers: a warm Ray Train worker group in which trials run one after another."""

from pathlib import Path

from orchestrator.slots.base import Assignment, RankFailed, WorkerLost
from orchestrator.slots.mailbox import Command, Failure, Outcome, RunEpoch, Save, SaveBest, Start
from orchestrator.slots.train_group import TrainGroup
from trainables.training.errors import TrainingError
from trainables.training.report import EpochReport


class TrainWorkersSlot:
    """A `TrialSlot` of `workers` data-parallel ranks.

    All ranks get the same commands in the same order. When the trainer fails on any rank, the trial ends
    with a `TrainingError` or `RankFailed` and the group stays warm: the ranks leave their process group,
    which wakes those that wait in a collective, and make a new one for the next trial. When a process dies
    or does not answer, the group is thrown away whole, the next is launched at once, and `WorkerLost` is
    raised: `start` with the last checkpoint goes on.
    """

    def __init__(self, *, workers: int, cpus: int, gpus: float = 0) -> None:
        self._workers = workers
        self._cpus = cpus
        self._gpus = gpus
        self._generation = 0
        self._group: TrainGroup | None = self._launch()

    def start(self, assignment: Assignment, checkpoint: Path | None = None) -> None:
        """Build the trainer on every rank; with a checkpoint, go on from it. Waits for a starting group."""
        if self._group is not None and self._group.lost is not None:  # died between two trials
            self._group.close()
            self._group = None
        if self._group is None:
            self._group = self._launch()
        self._call(Start(assignment, checkpoint, self._generation))

    def run_epoch(self) -> EpochReport:
        """Train one epoch and validate. The report is rank 0's."""
        report = self._call(RunEpoch())[0].report
        assert report is not None  # noqa: S101  # the outcome of RunEpoch has one
        return report

    def save(self, directory: Path) -> None:
        """Write the training state, from rank 0. `directory` must be on a disk that every node sees."""
        self._call(Save(directory))

    def save_best(self, directory: Path) -> None:
        """Write the model of the selected epoch so far, from rank 0."""
        self._call(SaveBest(directory))

    def close(self) -> None:
        """End the worker group and give back its reservation."""
        group, self._group = self._group, None
        if group is not None:
            group.close()

    def _launch(self) -> TrainGroup:
        self._generation = 0
        return TrainGroup(workers=self._workers, cpus=self._cpus, gpus=self._gpus)

    def _call(self, command: Command) -> dict[int, Outcome]:
        group = self._group
        if group is None:
            raise RuntimeError("the slot is closed")
        answers = group.call(command)
        failures = [outcome.failure for outcome in answers.outcomes.values() if outcome.failure is not None]
        if len(answers.outcomes) < self._workers:
            group.close()
            self._group = self._launch()
            raise WorkerLost(_loss(answers.lost, failures))
        if failures:
            if isinstance(command, Start | RunEpoch):
                self._generation += 1
            raise _error(failures)
        return answers.outcomes


def _error(failures: list[Failure]) -> Exception:
    """The first failure is the cause, but a `TrainingError` is never a consequence of another failure."""
    cause = next((failure for failure in failures if failure.of_training), failures[0])
    if cause.of_training:
        return TrainingError(cause.message, hint=cause.hint, key=cause.key)
    error = RankFailed(f"rank {cause.rank}: {cause.type}: {cause.message}")
    error.add_note(cause.traceback)
    return error


def _loss(reason: str | None, failures: list[Failure]) -> str:
    return "; ".join([reason or "unknown", *(f"rank {f.rank}: {f.message}" for f in failures)])
