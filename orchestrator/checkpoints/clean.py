"""`equipoise clean`: what results and decoded images take on this disk, and freeing what nobody needs."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.checkpoints.kept import Checkpoint, checkpoints_of, remove, size_of, spared
from orchestrator.errors import ConfigError, EquipoiseError
from orchestrator.report.find import find_search
from orchestrator.report.records import SearchRecord
from orchestrator.report.search_log import read_search
from orchestrator.runs.journal import FILE_NAME

PARTS = ("images", "sources", "prepared", "requests", "locks")
"""Folders of the cache."""


@dataclass(frozen=True)
class Usage:
    """What one run takes."""

    record: SearchRecord
    size: int
    """Bytes of its whole folder."""
    checkpoints: list[Checkpoint]
    free: list[Checkpoint]
    """What can go."""


def usage_of(directory: Path) -> Usage:
    """Look at a run's folder. A run that has not ended keeps everything: it may be resumed."""
    record, there = read_search(directory), checkpoints_of(directory)
    free = list(spared(record, there)) if record.status in ("completed", "failed") else []
    return Usage(record, size_of(directory), there, free)


def clean(storage: Path, reference: str | None, cache: Path | None, *, really: bool) -> None:
    """Show what runs and the cache take, and free what nobody needs if `really`.

    Args:
        storage: folder of all runs.
        reference: one run; None: all.
        cache: folder of decoded images, if it is to be freed as well: all of it.
        really: free it; else only show.

    Raises:
        ConfigError: no such run.
        EquipoiseError: the cache is in use.
    """
    if reference is not None:
        folders = [find_search(storage, reference)]
    else:
        folders = sorted(journal.parent for journal in storage.glob(f"*/{FILE_NAME}"))
    if not folders and cache is None:
        raise ConfigError(f"there are no runs in {storage}.", "Name their folder with --storage.")
    found = [usage_of(folder) for folder in folders]
    running = [usage.record.search_id for usage in found if usage.record.status == "running"]
    if cache is not None and running:
        raise EquipoiseError(
            f"the cache may be in use: {', '.join(running)} has not ended",
            "Resume it or let it finish, or clean without --cache.",
        )
    cached = size_of(cache) if cache is not None else 0
    Console().print(_table(found, cache, cached))
    total = sum(checkpoint.size for usage in found for checkpoint in usage.free) + cached
    if not really:
        Console().print(f"{_size(total)} can be freed: add --yes", highlight=False)
        return
    for usage in found:
        for checkpoint in usage.free:
            remove(checkpoint)
    if cache is not None:
        for part in PARTS:  # whatever else somebody keeps there is not ours
            shutil.rmtree(cache / part, ignore_errors=True)
    Console().print(f"{_size(total)} freed", highlight=False)


def _table(found: Sequence[Usage], cache: Path | None, cached: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("run")
    for header in ("trials", "takes", "models", "states", "can go"):
        table.add_column(header, justify="right")
    table.add_column("")
    for usage in found:
        by_kind = {
            kind: sum(own.size for own in usage.checkpoints if own.kind == kind) for kind in ("best", "last")
        }
        going = sum(own.size for own in usage.free)
        note = "" if usage.record.status in ("completed", "failed") else f"{usage.record.status}: may go on"
        table.add_row(
            Text(usage.record.search_id),
            str(len(usage.record.trials)),
            _size(usage.size),
            _size(by_kind["best"]),
            _size(by_kind["last"]),
            _size(going),
            Text(note, style="dim"),
        )
    if cache is not None:
        note = "decoded again when needed"
        table.add_row(
            Text(f"cache {cache}"), "", _size(cached), "", "", _size(cached), Text(note, style="dim")
        )
    return table


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
