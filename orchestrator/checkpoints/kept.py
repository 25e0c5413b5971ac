"""The checkpoints of a search, and in which order they can be spared."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.report import pareto
from orchestrator.report.records import SearchRecord, TrialRecord

ENDED = ("completed", "pruned", "failed")
"""Trials that nothing will go on with. An interrupted one goes on when its search is resumed."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that one trial wrote."""

    trial: str
    kind: str
    """`best`, the model of the selected epoch, or `last`, a training state."""
    path: Path
    size: int
    """Bytes."""


def checkpoints_of(directory: Path) -> list[Checkpoint]:
    """All that are there now, by what the disk says."""
    return [
        Checkpoint(trial.name, kind, trial / kind, size_of(trial / kind))
        for trial in sorted((directory / "trials").glob("*"))
        for kind in ("best", "last")
        if (trial / kind).is_dir()
    ]


def size_of(folder: Path) -> int:
    """Bytes of the files below; those that vanish meanwhile are not counted."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if not path.is_symlink() and path.is_file():
                total += path.stat().st_size
    return total


def spared(record: SearchRecord, there: list[Checkpoint]) -> Iterator[Checkpoint]:
    """Those that neither a live trial, nor a resume, nor a comparison needs, the least missed first.

    Training states of trials that have ended; then models: of failed trials, of pruned ones, and of those
    outside the Pareto set, the worst score first. A model of the Pareto set, or that is best on something,
    is not among them.
    """
    trials = {trial.trial: trial for trial in record.trials}
    ended = [own for own in there if own.trial in trials and trials[own.trial].status in ENDED]
    yield from (own for own in ended if own.kind == "last")
    chosen = {trial.trial for trial in _chosen(record)}
    models = [own for own in ended if own.kind == "best" and own.trial not in chosen]
    yield from sorted(models, key=lambda own: _worth(trials[own.trial]))


def remove(checkpoint: Checkpoint) -> None:
    """Take it away at once for whoever looks: renamed, then removed."""
    gone = checkpoint.path.with_name(f".{checkpoint.path.name}.gone")
    with contextlib.suppress(FileNotFoundError):
        checkpoint.path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _chosen(record: SearchRecord) -> list[TrialRecord]:
    best = [record.best(objective) for objective in record.objectives]
    if record.kind == "train":
        return list(record.trials)
    return [*record.front, *(trial for trial in (*best, record.balanced) if trial is not None)]


def _worth(trial: TrialRecord) -> tuple[int, float]:
    rank = {"failed": 0, "pruned": 1}.get(trial.status, 2)
    score = trial.metrics.get("score")
    if score is None or score != score:
        return rank, float("-inf")
    return rank, score if pareto.direction("score") == "max" else -score
