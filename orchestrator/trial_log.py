"""What is recorded of each trial of a run, whoever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from orchestrator.report.records import results_of
from orchestrator.run_folder import RunFolder


@dataclass
class _Progress:
    """What has been recorded of one trial."""

    epochs: int = 0
    status: str | None = None
    start_seconds: float = 0.0
    train_seconds: float = 0.0
    best_epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


class TrialLog:
    """Records the trials of a run: each begins once, has every epoch once, and ends once.

    A trial that runs again after its process died repeats the epochs since its last checkpoint. They are
    bit-identical, so only the first telling counts. On leaving the context, what still runs ends as interrupted.
    """

    def __init__(self, run: RunFolder) -> None:
        self._record = run.record
        self._trials: dict[str, _Progress] = {}

    def begin(self, trial: str, number: int, values: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
        """A slot has begun the trial, or begins it again. `values` were searched, `resolved` is the whole config."""
        if trial in self._trials:
            self._record("trial_restarted", trial=trial)
            return
        self._record("trial_started", trial=trial, number=number, config=values, resolved=resolved)
        self._trials[trial] = _Progress()

    def has_begun(self, trial: str) -> bool:
        """Whether the trial was recorded as begun."""
        return trial in self._trials

    def epoch(
        self, trial: str, report: Mapping[str, Any], start_seconds: float, *, ended: float | None = None
    ) -> None:
        """One epoch has ended.

        Args:
            trial: its trial.
            report: its `EpochReport` as a dict.
            start_seconds: what the trial took to reach its first step.
            ended: when it did, in seconds since 1970. Default: now.
        """
        progress = self._trials[trial]
        if report["epoch"] <= progress.epochs:
            return
        if progress.epochs == 0:
            progress.start_seconds = start_seconds
        progress.epochs = report["epoch"]
        progress.train_seconds += report["seconds"]
        if report["best"]:
            progress.best_epoch, progress.metrics = report["epoch"], results_of(report)
        self._record("epoch", trial=trial, report=report, **({} if ended is None else {"time": ended}))

    def end(self, trial: str, status: str, reason: str = "") -> None:
        """The trial is over: completed, pruned, failed or interrupted. A second end is passed over."""
        progress = self._trials[trial]
        if progress.status is not None:
            return
        self._record(
            "trial_ended",
            trial=trial,
            status=status,
            reason=reason,
            epochs=progress.epochs,
            best_epoch=progress.best_epoch,
            metrics=progress.metrics,
            seconds=progress.start_seconds + progress.train_seconds,
            train_seconds=progress.train_seconds,
            start_seconds=progress.start_seconds,
        )
        progress.status = status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for trial in self._trials:
            self.end(trial, "interrupted", "the run ended before it")
