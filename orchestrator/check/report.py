"""What `equipoise check` found, and how it is printed."""

import dataclasses
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

MOST_LINES = 20
"""Images of one kind that are printed; `--json` has them all."""
Severity = Literal["error", "warning", "note"]
Part = Literal["config", "data", "model"]


@dataclass(frozen=True)
class Problem:
    """Something to know before training.

    Attributes:
        severity: an error stops `train` and `search`; a warning is probably not meant; a note is a remark.
        part: what it is about.
        message: what is the matter.
        hint: what to do; may be empty.
        key: the config key concerned, if any.
        place: `file:line:column` where that key is written, if it is.
    """

    severity: Severity
    part: Part
    message: str
    hint: str = ""
    key: str | None = None
    place: str = ""


@dataclass(frozen=True)
class TaskCounts:
    """One task: its classes; examples with and without a label by split, and of each class by split."""

    type: str
    classes: tuple[str, ...]
    labelled: dict[str, int]
    missing: dict[str, int]
    counts: dict[str, dict[str, int]]


@dataclass(frozen=True)
class SourceCounts:
    """One of several sources: its images by split, and its labels by task and split."""

    examples: dict[str, int]
    labelled: dict[str, dict[str, int]]


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        name: of the experiment.
        config_only: whether the data and the model were left alone.
        problems: in order of severity.
        examples: by split; empty if the data could not be prepared.
        tasks: by name; empty likewise.
        sources: by name; empty with a single one.
        image_shape: (channels, height, width), if known.
        parameters: of the model as the file describes it, if it could be built.
        unreadable: (place, reason) of every image that cannot be read.
        duplicates: of every picture that is in several splits, its places by split.
        searched: config keys that are searched.
        seconds: that the check took.
    """

    name: str
    config_only: bool
    problems: tuple[Problem, ...] = ()
    examples: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, TaskCounts] = field(default_factory=dict)
    sources: dict[str, SourceCounts] = field(default_factory=dict)
    image_shape: tuple[int, int, int] | None = None
    parameters: int | None = None
    unreadable: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[dict[str, tuple[str, ...]], ...] = ()
    searched: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What stops `train` and `search`."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def exit_code(self) -> int:
        """0: nothing stands in the way; 3: the data does; 2: the file or the model does."""
        if any(problem.part == "data" for problem in self.errors):
            return 3
        return 2 if self.errors else 0


def print_report(report: CheckReport, *, as_json: bool = False) -> None:
    """Print a report: a table and its problems, or one line of JSON."""
    if as_json:
        event = {"event": "check_finished", "exit_code": report.exit_code, **dataclasses.asdict(report)}
        sys.stdout.write(json.dumps(event) + "\n")
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if report.tasks:
        console.print(_table(report))
    if report.sources:
        console.print(_sources(report))
    for problem in report.problems:
        style = {"error": "bold red", "warning": "yellow", "note": "dim"}[problem.severity]
        console.print(f"{problem.severity}: ", style=style, end="", markup=False)
        about = f"{problem.key}: " if problem.key and not problem.message.startswith(problem.key) else ""
        where = f"{problem.place}: " if problem.place else ""
        message = problem.message.rstrip()
        gap = "\n" if "\n" in message else " "
        console.print(f"{where}{about}{message}{gap}{problem.hint}".rstrip(), markup=False)
    for line in _images(report):
        console.print(line, markup=False)
    console.print(_summary(report), markup=False)


def _images(report: CheckReport) -> Iterable[str]:
    """The images that are unreadable or in several splits, one per line, as far as they fit a screen."""
    duplicates = ["; ".join(f"{split}: {', '.join(places)}" for split, places in found.items())
                  for found in report.duplicates]  # fmt: skip
    said = any(problem.key == "data.unreadable" for problem in report.errors)  # the error names some
    unreadable = [] if said else [f"{place}: {reason}" for place, reason in report.unreadable]
    for title, lines in (("cannot be read", unreadable), ("the same picture in several splits", duplicates)):
        if lines:
            yield f"{title}:"
            yield from (f"  {line}" for line in lines[:MOST_LINES])
        if len(lines) > MOST_LINES:
            yield f"  … and {len(lines) - MOST_LINES} more"


def _table(report: CheckReport) -> Any:
    from rich.table import Table

    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    table.add_column("task")
    table.add_column("type")
    table.add_column("classes", justify="right")
    for split in report.examples:
        table.add_column(split, justify="right")
    any_missing = any(any(task.missing.values()) for task in report.tasks.values())
    if any_missing:
        table.add_column("no label", justify="right")
    for name, task in report.tasks.items():
        row = [name, task.type, str(len(task.classes))]
        row += [f"{task.labelled[split]:,}" for split in report.examples]
        if any_missing:
            row.append(f"{sum(task.missing.values()):,}")
        table.add_row(*row)
    row = ["images", "×".join(str(side) for side in report.image_shape or ()), ""]
    table.add_row(*row, *(f"{count:,}" for count in report.examples.values()), style="dim")
    return table


def _sources(report: CheckReport) -> Any:
    from rich.table import Table

    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    table.add_column("source")
    for split in report.examples:
        table.add_column(split, justify="right")
    table.add_column("labels")
    for name, source in report.sources.items():
        labels = (f"{task} {sum(counts.values()):,}" for task, counts in source.labelled.items())
        table.add_row(name, *(f"{count:,}" for count in source.examples.values()), ", ".join(labels))
    return table


def _summary(report: CheckReport) -> str:
    if report.errors:
        return f"{report.name}: {len(report.errors)} error{'s' if len(report.errors) > 1 else ''}"
    known = []
    if report.parameters is not None:
        known.append(f"the model has {report.parameters:,} parameters")
    if report.searched:
        known.append(f"{len(report.searched)} keys are searched")
    what = "the file says nothing against itself" if report.config_only else "ready to train"
    return f"{report.name}: {what}" + (f" ({', '.join(known)})" if known else "")
