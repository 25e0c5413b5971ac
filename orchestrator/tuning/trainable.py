"""The class that Ray Tune runs: a warm slot in which one trial follows another."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.launch.node_checks import UnfitNode
from orchestrator.slots.base import Assignment, TrialSlot
from orchestrator.slots.choose import SlotRequest, open_slot
from orchestrator.slots.trial_run import TrialRun, explain_failure
from trainables.config.trial import TrialConfig
from trainables.errors import StorageError

# Read when a slot's actor is made, on any cluster: trials run where the user is, not in Tune's scratch folder.
os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"


class TrialTrainable(tune.Trainable):  # type: ignore[misc] # Ray is untyped
    """Tune's side of a `TrialSlot`: `step` is one epoch, or several short ones.

    `reset_config` hands the warm slot to the next trial.

    A trial that fails (its loss is not finite, its backbone has a mistake) reports so as its last result, and the
    slot stays warm. Only the death of a process is an error to Tune, which then starts the trial again; it goes on
    from its last checkpoint.
    """

    _slot: TrialSlot
    _idle_since: float

    def setup(self, config: dict[str, Any]) -> None:
        """Open the slot and begin its first trial."""
        self._idle_since = time.monotonic()
        self._slot = open_slot(SlotRequest(**config["slot"]))
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial in the warm slot."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._problem: str | None = config.get("problem")
        self._seconds_at_once: float = config["seconds_at_once"]
        if self._problem is None:
            self._assignment = Assignment(
                trial=config["trial"],
                config=TrialConfig.model_validate(config["config"]),
                data=Path(config["data"]),
                directory=Path(config["directory"]),
            )
        self._start_seconds: float | None = None
        self._run: TrialRun | None = None

    def step(self) -> dict[str, Any]:
        """Train an epoch, and more for as long as `seconds_at_once` says.

        The result holds the `EpochReport` of each and how many seconds `ago` it ended and, flat, the last one's
        metrics, which schedulers look at; with `failure`, why the trial ended after them; with `unsaved`, why nothing
        is kept at present; with `short_of_memory`, how it ran out of it, if it goes on with less; with `unwritable`,
        why the selected model is not, though the trial is at its end.
        """
        epochs: list[dict[str, Any]] = []
        result: dict[str, Any] = {"epochs": epochs, "epoch": 0, "done": True}
        if self._problem is not None:
            return {**result, "failure": self._problem}
        try:
            if self._run is None:
                self._run = TrialRun(self._slot, self._assignment)
            self._run.checkpoint_if_due()  # Tune asks for the next epoch when the last one is in the journal
            if self._start_seconds is None:
                self._start_seconds = time.monotonic() - self._idle_since
            result["start_seconds"] = self._start_seconds
            for report in self._run.run_epochs(self._seconds_at_once):
                epochs.append({"report": asdict(report), "ended": time.monotonic()})
                result |= {**report.metrics, "epoch": report.epoch, "done": report.finished}
            result["unsaved"] = self._run.unsaved
        except StorageError as error:  # no fault of the trial, which would be repeated for nothing
            result |= {"unwritable": error.message, "done": True}
        except UnfitNode:  # not the trial's fault: Tune starts it again, elsewhere
            raise
        except Exception as error:  # whatever a trial does wrong, the slot stays
            result |= {"failure": explain_failure(error, self._assignment.directory), "done": True}
        if self._run is not None:
            result["short_of_memory"] = self._run.short_of_memory
        self._idle_since = time.monotonic()
        for told in epochs:  # machines differ in what time it is, not in how long something takes
            told["ago"] = self._idle_since - told.pop("ended")
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the training state for Tune (to pause, or to be exploited)."""
        self._slot.save(Path(checkpoint_dir) / "state")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a state that `save_checkpoint` wrote."""
        self._run = TrialRun(self._slot, self._assignment, Path(checkpoint) / "state")

    def cleanup(self) -> None:
        """Give back the slot's processes and resources."""
        self._slot.close()
