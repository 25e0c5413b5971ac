"""Which pictures and models MLflow still lacks: what the writer does last, and a writer that died has left undone."""

from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.tracking.state import TrackingState


def owed(record: SearchRecord, state: TrackingState) -> list[TrialRecord]:
    """Trials of a run that is over of which something lacks, the Pareto set first, then by score."""
    lacking = [
        trial
        for trial in record.trials
        if trial.metrics
        and trial.trial in state.runs
        and (trial.trial not in state.pictured or lacks_model(record, trial, state))
    ]
    return sorted(
        lacking, key=lambda trial: (not trial.pareto, -trial.metrics.get("score", 0.0), trial.number)
    )


def lacks_model(record: SearchRecord, trial: TrialRecord, state: TrackingState) -> bool:
    """Whether a trial's model is to be logged and is not: those of the Pareto set, and that of a training."""
    return (trial.pareto or record.kind == "train") and trial.trial not in state.models
