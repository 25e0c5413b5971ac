"""The trials of a search as a table for people, and as CSV or JSON for programs."""

import csv
import io
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.errors import ConfigError
from orchestrator.report import formats
from orchestrator.report.find import find_search
from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.report.search_log import read_search

Format = Literal["table", "csv", "json"]
_FACTS = ("trial", "status", "pareto")
_TIMES = ("epochs", "seconds", "train_seconds", "start_seconds")
_PADDING = 2
_LEAST_REASON = 20
_STATUS = {"completed": "done"}
_STYLES = {"running": "cyan", "pruned": "dim", "interrupted": "dim", "failed": "red", "completed": ""}


def show_search(
    storage: Path, reference: str | None, *, pareto: bool = False, output_format: str = "table"
) -> None:
    """Print the trials of one search (`equipoise show`).

    Args:
        storage: folder of all searches.
        reference: id of the search, or its beginning; None: the latest.
        pareto: only the Pareto set.
        output_format: `table`, `csv` or `json`.

    Raises:
        ConfigError: no such search, no such format.
    """
    if output_format not in get_args(Format):
        raise ConfigError(
            f"--format {output_format} is unknown.", f"Choose one of: {', '.join(get_args(Format))}."
        )
    record = read_search(find_search(storage, reference))
    trials = record.front if pareto else record.trials
    if output_format == "csv":
        sys.stdout.write(trials_csv(trials))
    elif output_format == "json":
        sys.stdout.write(json.dumps(trials_json(trials), indent=1) + "\n")
    else:
        console = Console()
        console.print(search_table(record, trials, width=console.width, unicode=is_unicode(console)))


def is_unicode(console: Console) -> bool:
    """Whether the terminal can show more than ASCII."""
    return console.encoding.lower().startswith("utf")


def trials_json(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """The stable machine interface of `show --format json`; NaN and infinities become null."""
    return [
        {
            **{name: getattr(trial, name) for name in (*_FACTS, *_TIMES)},
            "config": trial.config,
            "metrics": {name: finite(value) for name, value in trial.metrics.items()},
            "run_id": trial.run_id,
        }
        for trial in trials
    ]


def trials_csv(trials: Sequence[TrialRecord]) -> str:
    """One line per trial; a column for every metric that any trial has and every searched key, the results first."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.config))
    metrics = list(dict.fromkeys(key for trial in trials for key in trial.metrics))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_FACTS, *metrics, *keys, *_TIMES, "run_id", "reason"])
    for trial in trials:
        facts, times = ([getattr(trial, name) for name in names] for names in (_FACTS, _TIMES))
        results = [trial.metrics.get(key) for key in metrics]
        config = [_csv_value(trial.config.get(key)) for key in keys]
        writer.writerow([*facts, *results, *config, *times, trial.run_id, trial.reason])
    return stream.getvalue()


def search_table(
    record: SearchRecord, trials: Sequence[TrialRecord], *, width: int, unicode: bool = True
) -> RenderableType:
    """A headed table of some trials of a search, the Pareto set first, fitted to `width`."""
    counts = [f"{n} {status}" for status in _STYLES if (n := sum(t.status == status for t in record.trials))]
    title = (
        f"{record.search_id}: {formats.count(len(record.trials), 'trial')} ({', '.join(reversed(counts))})"
    )
    table, hidden = trials_table(record, trials, width=width, unicode=unicode)
    notes = []
    if record.front:
        star, choice = _marks(unicode=unicode)
        notes.append(f"{star} Pareto set ({len(record.front)})  {choice} balanced choice")
    if degraded := [trial.trial for trial in trials if trial.degraded]:
        notes.append(f"degraded, some steps had equal weights for want of a solution: {', '.join(degraded)}")
    if hidden:
        notes.append(f"not shown for want of width: {', '.join(hidden)} (--format csv has all)")
    return Group(Text(title, style="bold"), table, *(Text(note, style="dim") for note in notes))


def trials_table(
    record: SearchRecord, trials: Sequence[TrialRecord], *, width: int, unicode: bool = True
) -> tuple[Table, list[str]]:
    """The bare table and the headers of the columns left out.

    Only what differs between the trials of the search is shown of their configuration. Columns of
    searched values that do not fit are left out, the last ones first; reasons take the room that remains.
    """
    star, choice = _marks(unicode=unicode)
    balanced = record.balanced
    ordered = _ordered(record, trials)
    marks = [choice if balanced and t.trial == balanced.trial else star if t.pareto else "" for t in ordered]
    names = [_Column("", marks), _Column("trial", [trial.trial for trial in ordered])]
    results = [
        _Column(
            name.replace(".", "\n"),
            [formats.metric(trial.metrics.get(name), name) for trial in ordered],
            "right",
        )
        for name in record.objectives
    ]
    results.append(_Column("ep", [str(trial.epochs) for trial in ordered], "right"))
    times = [formats.duration(trial.seconds or trial.train_seconds) for trial in ordered]
    results.append(_Column("time", times, "right"))
    status = _Column("status", [_STATUS.get(trial.status, trial.status) for trial in ordered])
    if any(trial.status != "completed" for trial in ordered):
        results.append(status)
    room = width - sum(column.width for column in [*names, *results])
    shown: list[_Column] = []
    hidden: list[str] = []
    columns = [
        _Column(header.replace(" ", "\n"), [formats.group_value(trial.config, keys) for trial in ordered])
        for header, keys in _varying(record).items()
    ]
    for column in [*columns, *_varying_costs(record, ordered)]:
        if hidden or column.width > room:
            hidden.append(column.header.replace("\n", " "))
        else:
            room -= column.width
            shown.append(column)
    reasons = [trial.reason for trial in ordered]
    if any(reasons) and room >= _LEAST_REASON + _PADDING:
        results.append(_Column("reason", [formats.shortened(reason, room - _PADDING) for reason in reasons]))
    columns = [*names, *shown, *results]
    table = Table(box=None, pad_edge=False, padding=(0, _PADDING, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column.header, justify=column.justify, no_wrap=True, vertical="bottom")
    for row, trial in enumerate(ordered):
        style = "bold" if trial.pareto else _STYLES[trial.status]
        table.add_row(*(column.cells[row] for column in columns), style=style)
    return table, hidden


@dataclass(frozen=True)
class _Column:
    header: str
    cells: list[str]
    justify: Literal["left", "right"] = "left"

    @property
    def width(self) -> int:
        """Characters, the space to the next column included."""
        return max(map(len, [*self.header.split("\n"), *self.cells])) + _PADDING


def finite(value: float | None) -> float | None:
    """The value, or None for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None


def _marks(*, unicode: bool) -> tuple[str, str]:
    return ("●", "◆") if unicode else ("*", "+")


def _varying(record: SearchRecord) -> dict[str, list[str]]:
    """Headers and keys of what differs between trials; of a search with one trial, everything searched."""
    keys = dict.fromkeys(key for trial in record.trials for key in trial.config)
    if len(record.trials) > 1:
        keys = {
            key: None for key in keys if len({repr(trial.config.get(key)) for trial in record.trials}) > 1
        }
    return formats.weight_groups(keys)


def _varying_costs(record: SearchRecord, trials: Sequence[TrialRecord]) -> list[_Column]:
    """Costs of models that are not objectives and differ between the trials of the search."""
    return [
        _Column(header, [formats.metric(trial.metrics.get(name), name) for trial in trials], "right")
        for name, header in {"model.parameters": "params", "model.flops": "flops"}.items()
        if name not in record.objectives
        and len({trial.metrics.get(name) for trial in record.trials if trial.metrics}) > 1
    ]


def _ordered(record: SearchRecord, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The Pareto set along its front, then completed trials by score, then the others as started."""
    chosen = {trial.trial for trial in trials}
    front = [trial for trial in record.front if trial.trial in chosen]
    done = [trial for trial in trials if trial.status == "completed" and not trial.pareto]
    done.sort(key=lambda trial: (-trial.metrics.get("score", 0.0), trial.number))
    return [*front, *done, *(trial for trial in trials if trial.status != "completed")]


def _csv_value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value
