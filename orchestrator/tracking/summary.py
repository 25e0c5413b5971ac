"""What stands above single runs: the search's note and the experiment's saved views."""

import logging

from orchestrator.report.tables import trials_csv
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.note import last_note
from orchestrator.tracking.runs import SearchRuns
from orchestrator.tracking.state import TrackingState
from orchestrator.tracking.views import shown_of, understands_views, view_id, view_tags

log = logging.getLogger("equipoise.tracking")


def tell_summary(store: MlflowStore, runs: SearchRuns, state: TrackingState) -> bool:
    """Write the views, and at the end of the search its note and table too; whether there was a trial to show already.

    One training needs none of them.

    Raises:
        Exception: MLflow cannot be reached; to be called again.
    """
    if runs.single or not runs.params:
        return runs.single
    record = runs.record(state.experiment_id, state.runs)
    if understands_views(store.version()):
        shown = shown_of(record, runs.uid, runs.params, runs.searched)
        refusal = store.save_views(view_tags(shown, record.search_id, round(record.started * 1000)))
        state.view = view_id(runs.uid) if refusal is None else None
        if refusal is not None:
            log.warning("MLflow refused the saved views: %s", refusal)
    if runs.over:
        store.annotate(last_note(record, state.view), trials_csv(record.trials))
    return True
