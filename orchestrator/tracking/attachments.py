"""What is attached to runs whenever there is time: pictures of finished trials, models of the Pareto set.

Nothing waits for it: while the search runs it takes a small share of the time, after the end the Pareto set comes
first, and what was not done in a writer's life is done in the next one's.
"""

import logging
from pathlib import Path

from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.tracking.logged_model import STATE as FILE
from orchestrator.tracking.logged_model import log_model
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.owed import owed
from orchestrator.tracking.pictures import has_predictions, trial_files
from orchestrator.tracking.runs import SearchRuns
from orchestrator.tracking.state import TrackingState
from trainables.errors import UserError

log = logging.getLogger("equipoise.tracking")


class Attachments:
    """Attaches one thing at a time to the runs of the search in `directory`."""

    def __init__(self, directory: Path, runs: SearchRuns) -> None:
        self.state = TrackingState()
        """What was attached already; what is attached is added to it."""
        self._trials = directory / "trials"
        self._runs = runs
        self._ended: SearchRecord | None = None

    def forget(self, trials: set[str]) -> None:
        """These were taken up again: by their ends they will be others."""
        self.state.pictured = [trial for trial in self.state.pictured if trial not in trials]
        self.state.models = {
            trial: model for trial, model in self.state.models.items() if trial not in trials
        }

    def attach_next(self, store: MlflowStore) -> bool:
        """Attach what comes next; False if there is nothing (at present).

        Raises:
            Exception: MLflow cannot be reached; to be called again.
        """
        if not self._runs.over:
            self._ended = None
            told = self.state.runs.keys() - self.state.pictured
            waiting = [record for trial, record in self._runs.ended.items() if trial in told]
            if waiting:
                self._attach_pictures(store, waiting[0])
            return bool(waiting)
        if self._ended is None:
            self._ended = self._runs.record(self.state.experiment_id, self.state.runs)
        for trial in owed(self._ended, self.state):
            if trial.trial not in self.state.pictured:
                self._attach_pictures(store, trial)
            else:
                self._attach_model(store, trial)
            return True
        return False

    def _attach_pictures(self, store: MlflowStore, trial: TrialRecord) -> None:
        folder = self._trials / trial.trial
        if has_predictions(folder):
            try:
                files = trial_files(folder, trial.best_epoch, self._runs.began)
            except (UserError, ValueError) as error:
                log.warning("no pictures of %s: %s", trial.trial, error)
            else:
                store.attach(self.state.runs[trial.trial], files)
        self.state.pictured.append(trial.trial)

    def _attach_model(self, store: MlflowStore, trial: TrialRecord) -> None:
        best, model = self._trials / trial.trial / "best", ""
        if (best / FILE).is_file():
            run, params = self.state.runs[trial.trial], self._runs.params[trial.trial]
            model = log_model(store, best, trial, run, self._runs.model_name(trial.trial), params)
        self.state.models[trial.trial] = model
