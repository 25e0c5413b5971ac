"""Tells the trial log what Ray Tune says of its trials."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from orchestrator.errors import NotRecorded
from orchestrator.runs.trial_log import TrialLog

Callback = Callable[..., None]


class RecordingFailed(BaseException):
    """What happens cannot be recorded, so nothing more may happen. Its cause says why.

    No `Exception`, because Tune takes those from callbacks for failures of the trial and runs it again.
    """


def _recording(callback: Callback) -> Callback:
    @functools.wraps(callback)
    def call(*arguments: Any, **options: Any) -> None:
        try:
            callback(*arguments, **options)
        except Exception as error:
            raise RecordingFailed from error

    return call


class Bookkeeper(tune.Callback):  # type: ignore[misc] # Ray is untyped
    """Tune's callbacks, as entries of a `TrialLog`. `reasons`: why the scheduler stopped trials, by trial."""

    def __init__(self, log: TrialLog, reasons: Mapping[str, str]) -> None:
        self._log = log
        self._reasons = reasons
        self._last: dict[str, dict[str, Any]] = {}
        self._furthest: dict[str, int] = {}

    @_recording
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A slot has begun the trial, or begins it again."""
        config = trial.config
        self._log.begin(
            config["trial"],
            config["number"],
            config["values"],
            config["config"],
            heard=config.get("heard", 0),
            cause=getattr(trial, "last_cause", None),
        )

    @_recording
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Epochs have ended, or the trial has failed for a reason of its own.

        Raises:
            RecordingFailed: its selected model cannot be written.
        """
        name = trial.config["trial"]
        self._last[name] = result
        for told in result["epochs"]:
            if self._log.epoch(name, told["report"], result["start_seconds"], ago=told["ago"]):
                trial.deaths.clear()  # processes may die as often as they like if the trial gets on in between
        self._log.unsaved(name, result.get("unsaved"))
        self._log.short_of_memory(name, result.get("short_of_memory"))
        if "unwritable" in result:
            raise NotRecorded(result["unwritable"])

    @_recording
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial has ended by itself, or the scheduler has stopped it."""
        name = trial.config["trial"]
        result = self._last.get(name, {})
        if "failure" in result:
            self._log.end(name, "failed", result["failure"])
        elif result.get("epochs") and result["epochs"][-1]["report"]["finished"]:
            self._log.end(name, "completed")
        else:
            self._log.end(name, "pruned", self._reasons.get(name, ""))

    @_recording
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's process has died more often than is tolerated, or could not be started."""
        name = trial.config["trial"]
        if not self._log.has_begun(name):
            self.on_trial_start(iteration, trials, trial)
        self._log.end(name, "failed", trial.why_dead)
