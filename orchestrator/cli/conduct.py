"""Conducts a run for a command: under a display, to its ending and exit code."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.cli.output import silence_libraries, stdout_kept_for_results

if TYPE_CHECKING:
    from orchestrator.report.records import SearchRecord
    from orchestrator.resuming.replay import History
    from orchestrator.runs.folder import Listener


def run_from_file(
    conduct: Callable[..., "SearchRecord"],
    config: Path,
    overrides: list[str] | None,
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    """Load the file, conduct the run under a display, print its ending, and exit with its code."""
    from orchestrator.spec import load_spec

    spec = load_spec(config, overrides or [])
    conduct_run(
        lambda listeners: conduct(spec, listeners=listeners, verbose=verbose),
        as_json=as_json,
        verbose=verbose,
    )


def conduct_run(
    conduct: Callable[[tuple["Listener", ...]], "SearchRecord"],
    *,
    as_json: bool,
    verbose: bool,
    earlier: "History | None" = None,
) -> None:
    """Conduct a run under a display, print its ending, and exit with its code. `earlier`: of one that goes on."""
    from orchestrator.report.display import open_display
    from orchestrator.report.ending import exit_code, print_ending
    from orchestrator.report.search_log import read_search

    if not verbose:
        silence_libraries()
    begun: list[Path] = []

    def follow(event: dict[str, Any]) -> None:
        if event["event"] in ("search_started", "search_resumed"):
            begun.append(Path(event["directory"]))

    with stdout_kept_for_results() if as_json else contextlib.nullcontext():
        try:
            with open_display(as_json=as_json) as display:
                if earlier is not None:
                    display.recall(earlier.events)
                record = conduct((follow, display.on_event))
        except KeyboardInterrupt:
            if not begun:
                raise
            record = read_search(begun[0])
    print_ending(record, as_json=as_json)
    raise typer.Exit(exit_code(record))
