"""What runs have left behind: journals without an end, or that MLflow was not told, and runs that it believes alive."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.finding import Finding
from orchestrator.errors import EquipoiseError
from orchestrator.report import formats
from orchestrator.resuming.replay import History, read_history
from orchestrator.runs.folder import RunFolder, outcome
from orchestrator.runs.journal import FILE_NAME, Journal
from orchestrator.runs.lease import Conducted, hold_lease, is_held
from orchestrator.runs.trial_log import TrialLog
from orchestrator.tracking.process import lacking, tell_rest
from orchestrator.tracking.state import is_being_told, read_state, untold
from orchestrator.tracking.uri import database_path

PATIENCE_WITH_PICTURES = 60.0
"""Seconds. Of large searches the writer goes on by itself."""


def runs(storage: Path, uri: str | None, *, fix: bool) -> Iterator[Finding]:
    """Look at all runs in `storage`, and at MLflow's runs of ours.

    Args:
        storage: folder of all runs.
        uri: absolute tracking URI; None: the store cannot be asked.
        fix: give every run that died without a word its end, in its journal and so in MLflow, and close MLflow's runs
            that nobody conducts; each can be resumed all the same. Tell MLflow the rest of what it was not told.
    """
    found = [*_abandoned(storage.absolute(), fix=fix)]
    if uri is not None:
        found += _orphans(uri, storage.absolute(), fix=fix)
    yield from found or [Finding("runs", "ok", "no run died without a word")]


def _abandoned(storage: Path, *, fix: bool) -> Iterator[Finding]:
    """Runs whose process died without a word, and those that ended while MLflow was away."""
    for directory in sorted(path.parent for path in storage.glob(f"*/{FILE_NAME}")):
        try:
            history = read_history(directory)
        except EquipoiseError as error:
            if (directory / FILE_NAME).stat().st_size:
                yield Finding("damaged-journal", "warning", error.message, error.hint)
            continue
        if is_held(directory):
            continue
        if history.events[-1]["event"] == "search_ended":
            yield from _untold(directory, fix=fix)
            continue
        resume = f"equipoise resume {directory.name}"
        if fix and _close(history):
            yield Finding("abandoned-run", "ok", f"{directory.name} was killed, and is closed now", resume)
        else:
            message = f"{directory.name} ended without a word: its process was killed"
            yield Finding(
                "abandoned-run", "warning", message, f"{resume}, or equipoise doctor --fix to close it"
            )


def _close(history: History) -> bool:
    """Journal the end that the run could not, and tell MLflow. Whether it could be done; a resume is still possible."""
    directory = history.directory
    with contextlib.suppress(Conducted), hold_lease(directory), Journal(directory) as journal:
        run = RunFolder(directory, journal, [])
        with TrialLog(run) as log:
            for event in history.events:
                log.hear(event)
            log.settle({})
        run.record("search_ended", status="interrupted", seconds=history.seconds, **outcome(directory))
        return tell_rest(directory, PATIENCE_WITH_PICTURES)
    return False


def _untold(directory: Path, *, fix: bool) -> Iterator[Finding]:
    """A run that has ended, if MLflow does not know all of it: it was away for longer than the writer waits."""
    if not untold(directory, read_state(directory)):
        yield from _undrawn(directory, fix=fix)
        return
    with contextlib.suppress(Conducted):
        if fix:
            with hold_lease(directory):
                told = tell_rest(directory, PATIENCE_WITH_PICTURES)
            if told:
                yield Finding("untold-run", "ok", f"MLflow is told all of {directory.name} now")
                return
    error = read_state(directory).error
    message = f"MLflow was not told all of {directory.name}" + (f": {error}" if error else "")
    yield Finding("untold-run", "warning", message, "Start MLflow's server, then equipoise doctor --fix.")


def _undrawn(directory: Path, *, fix: bool) -> Iterator[Finding]:
    """A run of which MLflow knows all but pictures and models: its writer, which makes them last, was killed."""
    before = [] if is_being_told(directory) else lacking(directory)
    if not before:
        return
    with contextlib.suppress(Conducted):
        if fix:
            with hold_lease(directory):
                tell_rest(directory, PATIENCE_WITH_PICTURES)
            if not lacking(directory):
                message = f"MLflow has the pictures and models of {directory.name} now"
                yield Finding("undrawn-run", "ok", message)
                return
    message = f"MLflow lacks pictures or models of {formats.count(len(before), 'trial')} of {directory.name}"
    yield Finding(
        "undrawn-run", "warning", message, "equipoise doctor --fix; tracking.log there says what failed."
    )


def _orphans(uri: str, storage: Path, *, fix: bool) -> Iterator[Finding]:
    database = database_path(uri)
    if database is not None and not database.exists():
        return  # nothing was ever tracked here
    from orchestrator.tracking.orphans import close_orphan, find_orphans
    from orchestrator.tracking.runs import uid_of

    alive = set()
    for path in storage.glob(f"*/{FILE_NAME}"):
        with contextlib.suppress(EquipoiseError):
            if is_held(path.parent):
                alive.add(uid_of(read_history(path.parent).started))
    for orphan in find_orphans(uri, alive):
        name = f"MLflow's run {orphan.name} ({orphan.run_id})"
        if fix:
            close_orphan(uri, orphan)
            yield Finding("orphaned-mlflow-run", "ok", f"{name} is closed now: {orphan.reason}")
        else:
            message = f"{name} does not run any more: {orphan.reason}"
            yield Finding("orphaned-mlflow-run", "warning", message, "equipoise doctor --fix")
