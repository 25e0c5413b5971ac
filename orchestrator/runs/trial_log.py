"""What is recorded of each trial of a run, whoever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from orchestrator.errors import EquipoiseError
from orchestrator.report.search_log import results_of
from orchestrator.resuming.repeats import differing
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.journal import Event
from orchestrator.slots.want_of_memory import REASON


@dataclass
class _Progress:
    """What has been recorded of one trial."""

    epochs: int = 0
    status: str | None = None
    start_seconds: float = 0.0
    train_seconds: float = 0.0
    best_epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    reports: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """By epoch."""
    is_finished: bool = False
    """By its last epoch's own account."""
    unsaved: str | None = None
    """Why what it has learned is not kept at present."""
    short_of_memory: bool = False
    """It ran out of memory before, and that is recorded."""

    def add(self, report: Mapping[str, Any]) -> None:
        """Take in the next epoch."""
        self.epochs = report["epoch"]
        self.train_seconds += report["seconds"]
        self.is_finished = report["finished"]
        self.reports[self.epochs] = report
        if report["best"]:
            self.best_epoch, self.metrics = report["epoch"], results_of(report)


class TrialLog:
    """Records the trials of a run: each begins once, has every epoch once, and ends once.

    A trial that runs again after its process died, or after a resume, repeats the epochs since its last checkpoint.
    They are bit-identical, so only the first telling counts; where they are not, that is recorded. On leaving the
    context, what still runs ends as interrupted.
    """

    def __init__(self, run: RunFolder) -> None:
        self._record, self._tell = run.record, run.tell
        self._trials: dict[str, _Progress] = {}

    def hear(self, event: Event) -> None:
        """Learn from an event of the journal of an interrupted run, before anything is recorded."""
        match event["event"]:
            case "trial_started":
                self._trials.setdefault(event["trial"], _Progress())
            case "trial_restarted":
                self._trials[event["trial"]].status = None
            case "epoch":
                progress = self._trials[event["trial"]]
                progress.start_seconds = event.get("start_seconds", progress.start_seconds)
                progress.add(event["report"])
            case "short_of_memory":
                self._trials[event["trial"]].short_of_memory = True
            case "trial_ended":
                self._trials[event["trial"]].status = event["status"]

    def settle(self, stopped: Mapping[str, str]) -> None:
        """End the trials of which only the end is missing: the run was killed between their last epoch and it.

        `stopped`: why the scheduler stopped trials, by trial, when it was shown the same events.
        """
        for trial, progress in self._trials.items():
            if progress.status not in (None, "interrupted"):
                continue
            if progress.is_finished:
                self._end(trial, "completed")
            elif trial in stopped:
                self._end(trial, "pruned", stopped[trial])

    def has_ended(self, trial: str) -> bool:
        """Whether the trial is over for good, not only interrupted."""
        return trial in self._trials and self._trials[trial].status not in (None, "interrupted")

    def begin(
        self,
        trial: str,
        number: int,
        values: Mapping[str, Any],
        resolved: Mapping[str, Any],
        *,
        heard: int = 0,
        cause: str | None = None,
    ) -> None:
        """A slot has begun the trial, or begins it again.

        Args:
            trial: its name.
            number: from 0.
            values: what was searched.
            resolved: the whole config.
            heard: how many beginnings and ends of trials were recorded when `values` were proposed.
            cause: what killed the process that ran it before, if it begins again for that.
        """
        if trial in self._trials:
            self._trials[trial].status = None
            known: dict[str, Any] = {"cause": cause} if cause else {}
            self._record("trial_restarted", trial=trial, **known)
            if cause == "out of memory":
                self.short_of_memory(trial, f"{REASON}.")
            return
        self._record(
            "trial_started", trial=trial, number=number, heard=heard, config=values, resolved=resolved
        )
        self._trials[trial] = _Progress()

    def has_begun(self, trial: str) -> bool:
        """Whether the trial was recorded as begun."""
        return trial in self._trials

    def epoch(self, trial: str, report: Mapping[str, Any], start_seconds: float, *, ago: float = 0.0) -> bool:
        """One epoch has ended.

        Args:
            trial: its trial.
            report: its `EpochReport` as a dict.
            start_seconds: what the trial took to reach its first step.
            ago: how many seconds before now.

        Returns:
            Whether it is a new one, and not repeated.

        Raises:
            EquipoiseError: epochs are missing, because a checkpoint is of a later epoch than the journal knows.
        """
        progress = self._trials[trial]
        if report["epoch"] <= progress.epochs:
            self._compare(trial, report, progress.reports[report["epoch"]])
            return False
        if report["epoch"] > progress.epochs + 1:
            raise EquipoiseError(
                f"{trial} went on with epoch {report['epoch']}, but the journal knows only {progress.epochs}: "
                "its last records are lost",
                f"Remove the folder {trial}/last below the run's trials/, and resume: the trial then starts afresh.",
            )
        further: dict[str, Any] = {}
        if not progress.epochs:
            progress.start_seconds = further["start_seconds"] = start_seconds
        self._record("epoch", ago=ago, trial=trial, report=report, **further)
        progress.add(report)
        return True

    def unsaved(self, trial: str, reason: str | None) -> None:
        """What the trial has learned cannot be kept, for this reason; None: it can. What is new is told."""
        progress = self._trials[trial]
        if reason is not None and progress.unsaved is None:
            self._tell("unsaved", trial=trial, reason=reason)
        progress.unsaved = reason

    def short_of_memory(self, trial: str, reason: str | None) -> None:
        """The trial ran out of memory, for this reason, and goes on with less. Recorded once."""
        progress = self._trials[trial]
        if reason is not None and not progress.short_of_memory:
            self._record("short_of_memory", trial=trial, reason=reason)
            progress.short_of_memory = True

    def _compare(self, trial: str, report: Mapping[str, Any], recorded: Mapping[str, Any]) -> None:
        """Record that a repeated epoch is not the one that was recorded, if so."""
        if values := differing(recorded, report):
            self._record("epoch_differed", trial=trial, epoch=report["epoch"], values=values)

    def end(self, trial: str, status: str, reason: str = "") -> None:
        """The trial is over: completed, pruned, failed or interrupted. A second end is passed over."""
        if self._trials[trial].status is None:
            self._end(trial, status, reason)

    def _end(self, trial: str, status: str, reason: str = "") -> None:
        progress = self._trials[trial]
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
