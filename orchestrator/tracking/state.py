"""How far MLflow has heard of a search: the acknowledged part of its journal, and the ids MLflow gave.

This module imports no MLflow, so that reports and the search's driver can read the state.
"""

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.runs.journal import FILE_NAME as JOURNAL_NAME
from trainables.durable import flush

FILE_NAME = "tracking.json"
LOCK_NAME = "tracking.lock"
"""Held by the one writer that is at work. Who opens it to write asks a writer that waits for MLflow to try at once."""


@dataclass
class TrackingState:
    """What the writer remembers between two of its lives."""

    offset: int = 0
    """Bytes of the journal that MLflow has acknowledged."""
    experiment_id: str | None = None
    runs: dict[str, str] = field(default_factory=dict)
    """MLflow run ids by trial id; the search's own run is under the empty text."""
    view: str | None = None
    """Id of the saved view of trade-offs; None if MLflow's page does not know such views."""
    pictured: list[str] = field(default_factory=list)
    """Trials whose pictures are there."""
    models: dict[str, str] = field(default_factory=dict)
    """MLflow's ids of logged models by trial."""
    error: str | None = None
    """Why nothing is being written at present."""


def read_state(directory: Path) -> TrackingState:
    """The state of a search; the initial one where there is none to read, as everything can be told again."""
    try:
        stored = json.loads((directory / FILE_NAME).read_text())
        return TrackingState(**stored)
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return TrackingState()


def write_state(directory: Path, state: TrackingState) -> None:
    """Replace the stored state in one step."""
    temporary = directory / f".{FILE_NAME}.tmp"
    with temporary.open("w") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / FILE_NAME)
    flush(directory)


def untold(directory: Path, state: TrackingState) -> int:
    """Bytes of a run's journal that MLflow has not acknowledged, by `state`."""
    journal = directory / JOURNAL_NAME
    size = journal.stat().st_size if journal.exists() else 0
    return max(0, size - state.offset)


def is_being_told(directory: Path) -> bool:
    """Whether a writer is at work."""
    with contextlib.suppress(FileNotFoundError), (directory / LOCK_NAME).open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def forget_error(directory: Path) -> None:
    """Forget why an earlier writer could tell nothing; one that still waits is asked to try at once."""
    if read_state(directory).error is None:
        return
    with contextlib.suppress(OSError), (directory / LOCK_NAME).open("w") as file:  # BlockingIOError: one is
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        state = read_state(directory)  # nobody else writes it now
        state.error = None
        write_state(directory, state)
