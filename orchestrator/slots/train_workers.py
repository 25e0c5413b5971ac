"""Several workers: a warm Ray Train worker group in which trials run one after another."""

from pathlib import Path

from orchestrator.launch.node_checks import Expected
from orchestrator.slots.base import Assignment, RankFailed, WorkerLost
from orchestrator.slots.mailbox import Command, Failure, Outcome, RunEpoch, Save, SaveBest, Start
from orchestrator.slots.train_group import TrainGroup
from trainables.training.report import EpochReport


class TrainWorkersSlot:
    """A `TrialSlot` of `workers` data-parallel ranks.

    All ranks get the same commands in the same order. When the trainer fails on any rank, the trial ends
    with that rank's error and the group stays warm: the ranks leave their process group, which wakes those
    that wait in a collective, and make a new one for the next trial. When a process dies or does not answer,
    the group is thrown away whole and `WorkerLost` is raised; `start` launches another.

    Errors are a `TrainingError`, `ModelError` or `DataError` as the trainer raised it, `RankFailed` for any
    other exception, and `WorkerLost`.
    """

    def __init__(self, *, workers: int, cpus: int, gpus: float = 0, expected: Expected | None = None) -> None:
        """`expected`: what must hold on the workers' nodes; see `start`."""
        self._workers = workers
        self._expected = expected
        self._cpus = cpus
        self._gpus = gpus
        self._group: TrainGroup | None = None
        self._launch()

    def start(self, assignment: Assignment, checkpoint: Path | None = None) -> None:
        """Build the trainer on every rank; with a checkpoint, go on from it. Waits for a starting group."""
        if self._group is not None and self._group.lost is not None:  # died between two trials
            self.close()
        if self._group is None:
            self._launch()
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

    def _launch(self) -> None:
        self._generation = 0
        self._group = TrainGroup(
            workers=self._workers, cpus=self._cpus, gpus=self._gpus, expected=self._expected
        )

    def _call(self, command: Command) -> dict[int, Outcome]:
        if self._group is None:
            raise RuntimeError("no trial has been started in this slot")
        answers = self._group.call(command)
        failures = [outcome.failure for outcome in answers.outcomes.values() if outcome.failure is not None]
        if len(answers.outcomes) < self._workers:
            self.close()
            reason = "; ".join([answers.lost or "no reason known", *map(_told, failures)])
            raise WorkerLost(reason if answers.started else f"the workers could not be started: {reason}")
        if failures:
            if isinstance(command, Start | RunEpoch):
                self._generation += 1
            raise _error(failures)
        return answers.outcomes


def _error(failures: list[Failure]) -> Exception:
    """The first failure is the cause, unless one is the user's: that is never a consequence of another."""
    for failure in failures:
        if failure.error is not None:
            return failure.error
    cause = failures[0]
    error = RankFailed(_told(cause))
    error.add_note(cause.traceback)
    return error


def _told(failure: Failure) -> str:
    return f"rank {failure.rank}: {failure.type}: {failure.message}"
