"""Go on with a run that was interrupted, whatever interrupted it."""

from pathlib import Path

from orchestrator.report.records import SearchRecord
from orchestrator.report.search_log import read_search
from orchestrator.resuming.replay import read_history
from orchestrator.runs.folder import Listener
from orchestrator.runs.lease import hold_lease
from orchestrator.tracking.process import tell_rest


def resume(directory: Path, *, listeners: tuple[Listener, ...] = (), verbose: bool = False) -> SearchRecord:
    """Go on with the search or training in `directory` from its journal, and return its trials.

    Trials that have ended stay as they are, those that ran go on from their last checkpoint, and what is proposed
    next is what would have been. Epochs since a checkpoint are repeated, bit-identically, and recorded once. Of a run
    that is over, MLflow is told what it was not told yet, and the record is returned.

    Args:
        directory: the run's folder.
        listeners: called with every new event as it is journaled.
        verbose: show what Ray and its workers print.

    Raises:
        Conducted: another process is at it.
        JournalDamaged: the journal is not what was written.
        EquipoiseError, DataError, KeyboardInterrupt: as `run_search` and `train`.
    """
    directory = directory.resolve()
    with hold_lease(directory):
        earlier = read_history(directory)
        if earlier.is_over:
            tell_rest(directory)
            return read_search(directory)
        spec = earlier.spec()
        if earlier.started["kind"] == "train":
            from orchestrator.training_run import train

            return train(spec, listeners=listeners, verbose=verbose, earlier=earlier)
        from orchestrator.experiment import run_search

        return run_search(spec, listeners=listeners, verbose=verbose, earlier=earlier)
