"""What killed runs have left behind: journals without an end, and runs that MLflow believes to be running."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.finding import Finding
from orchestrator.errors import EquipoiseError
from orchestrator.resuming.replay import History, read_history
from orchestrator.runs.folder import RunFolder, outcome
from orchestrator.runs.journal import FILE_NAME, Journal
from orchestrator.runs.lease import Conducted, hold_lease, is_held
from orchestrator.runs.trial_log import TrialLog
from orchestrator.tracking.state import read_state
from orchestrator.tracking.uri import database_path

SECONDS_TO_TELL = 120.0


def runs(storage: Path, uri: str | None, *, fix: bool) -> Iterator[Finding]:
    """Look at all runs in `storage`, and at MLflow's runs of ours.

    Args:
        storage: folder of all runs.
        uri: absolute tracking URI; None: the store cannot be asked.
        fix: give every run that died without a word its end, in its journal and so in MLflow, and close MLflow's runs
            that nobody conducts. Each can be resumed all the same.
    """
    found = [*_abandoned(storage.absolute(), fix=fix)]
    if uri is not None:
        found += _orphans(uri, storage.absolute(), fix=fix)
    yield from found or [Finding("runs", "ok", "no run died without a word")]


def _abandoned(storage: Path, *, fix: bool) -> Iterator[Finding]:
    """Runs whose process died without a word."""
    for directory in sorted(path.parent for path in storage.glob(f"*/{FILE_NAME}")):
        try:
            history = read_history(directory)
        except EquipoiseError as error:
            if (directory / FILE_NAME).stat().st_size:
                yield Finding("damaged-journal", "warning", error.message, error.hint)
            continue
        if history.events[-1]["event"] == "search_ended" or is_held(directory):
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
        with contextlib.suppress(subprocess.TimeoutExpired):
            command = [sys.executable, "-m", "orchestrator.tracking.writer", str(directory)]
            subprocess.run(command, capture_output=True, timeout=SECONDS_TO_TELL)  # noqa: S603 - our own module
        return read_state(directory).offset >= (directory / FILE_NAME).stat().st_size
    return False


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
