"""What `equipoise rerun` says: whether a trial came out as recorded, and if not, what has changed."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.report import formats
from orchestrator.report.tables import finite


@dataclass(frozen=True)
class Rerun:
    """A trial that was run again."""

    search_id: str
    trial: str
    epochs: int
    """How many were repeated."""
    differing_epoch: int | None = None
    """The first that came out differently; None if none did."""
    differing: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """What differs in it, by name: as recorded, and now."""
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """What is not as it was around the trial (data, versions, commit, processor): as recorded, and now."""

    @property
    def is_equal(self) -> bool:
        """Whether every epoch came out as recorded."""
        return not self.differing


def print_comparison(rerun: Rerun, *, as_json: bool = False) -> None:
    """Print it for people, or as one line for programs."""
    if as_json:
        sys.stdout.write(json.dumps(comparison_json(rerun)) + "\n")
        sys.stdout.flush()
        return
    console, name = Console(), f"{rerun.trial} of {rerun.search_id}"
    repeated = formats.count(rerun.epochs, "epoch")
    if rerun.is_equal:
        console.print(Text(f"{name}: {repeated} repeated, equal to the last bit", style="bold"))
    else:
        console.print(
            Text(f"{name}: epoch {rerun.differing_epoch} is the first that differs", style="bold red")
        )
        for line in _lines(rerun.differing):
            console.print(Text(f"  {line}"))
    if rerun.changed:
        console.print(Text("not as it was when the trial ran:", style="yellow"))
        for line in _lines(rerun.changed):
            console.print(Text(f"  {line}"))
    elif not rerun.is_equal:
        console.print(
            Text("data, versions, commit and processor are as they were: what differs is not recorded")
        )


def comparison_json(rerun: Rerun) -> dict[str, Any]:
    """The stable machine interface of `rerun --json`."""
    return {
        "event": "rerun_finished",
        "search_id": rerun.search_id,
        "trial": rerun.trial,
        "epochs": rerun.epochs,
        "equal": rerun.is_equal,
        "differing_epoch": rerun.differing_epoch,
        "differing": {name: [_plain(value) for value in pair] for name, pair in rerun.differing.items()},
        "changed": {name: list(pair) for name, pair in rerun.changed.items()},
    }


def _lines(pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [
        f"{name}: {_said(recorded)} recorded, {_said(now)} now" for name, (recorded, now) in pairs.items()
    ]


def _said(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _plain(value: Any) -> Any:
    return finite(value) if isinstance(value, float) else value
