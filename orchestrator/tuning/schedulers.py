"""Which trials Ray Tune stops, and in which order it starts them."""

from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestrator.tuning.halving import SuccessiveHalving
from search_spaces.search import Asha


class QueueScheduler(FIFOScheduler):  # type: ignore[misc]
    """Starts trials in order and never stops one."""

    judges_every_epoch = False
    """Whether a trial may not go on before the scheduler has seen its last epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[str, str] = {}
        """Why trials were stopped, by trial."""
        self.controller: Any = None
        """Tune's, once it has asked for the first trial."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """Learn from an event of the journal of an interrupted search. Here, nothing depends on it."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leave the order to Tune, which starts pending trials as they came.

        Tune's own FIFOScheduler names the first pending trial here, again and again. While that one waits
        for its actor to start, Tune then gives it the warm actor that another trial leaves, and kills the one
        that is starting: with trials shorter than the start of a process, the second slot never comes up.
        (Trials are also to be made while one is pending: TUNE_MAX_PENDING_TRIALS_PG = slots.)
        """
        self.controller = tune_controller


class AshaScheduler(QueueScheduler):
    """Stops trials by successive halving."""

    judges_every_epoch = True

    def __init__(self, halving: SuccessiveHalving) -> None:
        super().__init__()
        self._halving = halving

    def hear(self, event: Mapping[str, Any]) -> None:
        """Learn what trials have reached, and so which were stopped. What is judged already stays so."""
        if event["event"] != "epoch":
            return
        report = event["report"]
        if self._halving.metric in report["metrics"] and not report.get(
            "finished"
        ):  # Tune asks for no last epoch
            self._judge(event["trial"], report["epoch"], report["metrics"][self._halving.metric])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge the trial at its epoch."""
        if self._halving.metric not in result:
            return str(TrialScheduler.CONTINUE)
        goes_on = self._judge(trial.trial_id, result["epoch"], result[self._halving.metric])
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _judge(self, trial: str, epoch: int, value: float) -> bool:
        reason = self._halving.judge(trial, epoch, value)
        if reason is not None:
            self.reasons[trial] = reason
        return reason is None


def make_scheduler(stop_early: Asha | None, *, epochs: int) -> QueueScheduler:
    """Build the scheduler that `search.stop_early` asks for; `epochs`: of a whole trial."""
    if stop_early is None:
        return QueueScheduler()
    return AshaScheduler(SuccessiveHalving(stop_early, epochs=epochs))
