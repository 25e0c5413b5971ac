"""The last words of a run: what was found, what failed, where it is kept and what to do next."""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.report import formats, pareto
from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.report.tables import finite
from orchestrator.spec import TrackingConfig
from orchestrator.tracking.uri import experiment_link, is_remote, without_login

OK, FAILED, SOME_FAILED, INTERRUPTED = 0, 1, 4, 130


def exit_code(record: SearchRecord) -> int:
    """0 all well, 1 the run failed or no trial completed, 4 some trials failed, 130 interrupted."""
    if record.status == "interrupted":
        return INTERRUPTED
    if record.status == "failed" or not record.candidates:
        return FAILED
    return SOME_FAILED if any(trial.status == "failed" for trial in record.trials) else OK


def print_ending(record: SearchRecord, *, as_json: bool = False) -> None:
    """Print the ending for people, or the one line for programs."""
    if as_json:
        sys.stdout.write(json.dumps(ending_json(record)) + "\n")
        sys.stdout.flush()
    else:
        Console().print(ending(record))


def ending_json(record: SearchRecord) -> dict[str, Any]:
    """The stable machine interface of `train --json` and `search --json`."""
    if record.kind == "train":
        trial = record.trials[0] if record.trials else None
        workers = record.slots.get("workers", 1)
        return {
            "event": "train_finished",
            "run_id": trial.run_id if trial else None,
            "seconds": record.seconds,
            "workers": workers,
            "slot": "in_process" if record.slots.get("in_process", workers == 1) else "train_workers",
            "epochs": trial.epochs if trial else 0,
            "metrics": {name: finite(value) for name, value in trial.metrics.items()} if trial else {},
        }
    return {
        "event": "search_finished",
        "search_id": record.search_id,
        "trials": len(record.trials),
        "seconds": record.seconds,
        "pareto": [trial.trial for trial in record.front],
        "hypervolume": finite(record.hypervolume()),
        "reference": record.reference,
        "tracking_uri": record.tracking_uri and without_login(record.tracking_uri),
        "experiment_id": record.experiment_id,
    }


def ending(record: SearchRecord) -> RenderableType:
    """The ending of a search or a training, for people."""
    body = _training(record) if record.kind == "train" else _search(record)
    return Group(Text(), *body, *_failures(record), *_degraded(record), Text(), _where(record))


def _search(record: SearchRecord) -> list[RenderableType]:
    counts = [f"{n} {status}" for status in ("completed", "pruned", "failed", "interrupted")
              if (n := sum(trial.status == status for trial in record.trials))]  # fmt: skip
    how = {"completed": "finished", "running": "is not finished"}.get(record.status, record.status)
    trials, time = formats.count(len(record.trials), "trial"), formats.duration(record.seconds)
    title = f"{record.search_id} {how}: {trials} in {time}" + (f" ({', '.join(counts)})" if counts else "")
    lines: list[RenderableType] = [Text(title, style="bold")]
    if not record.candidates:
        return [*lines, Text("No trial was completed, so there is nothing to compare.")]
    table = _plain_table()
    table.add_column(justify="left")
    for _ in record.objectives:
        table.add_column(justify="right", no_wrap=True)
    table.add_row("", "", *(Text(name.replace(".", "\n"), style="dim") for name in record.objectives))
    for name in record.objectives:
        if best := record.best(name):
            which = "lowest" if pareto.direction(name) == "min" else "best"
            table.add_row(f"{which} {name}", best.trial, *_values(record, best, name))
    if (choice := record.balanced) and len(record.objectives) > 1:
        table.add_row(
            Text("balanced choice", style="bold"), Text(choice.trial, style="bold"), *_values(record, choice)
        )
    reference = ", ".join(
        f"{name} {formats.metric(point, name)}" + (", the largest seen" if pareto.is_open_ended(name) else "")
        for name, point in record.reference.items()
        if point
    )
    volume = record.hypervolume()
    shown = "not computed for so many objectives" if math.isnan(volume) else formats.metric(volume)
    size = f"Pareto set: {formats.count(len(record.front), 'trial')}, hypervolume {shown}"
    return [*lines, table, Text(f"{size} (reference {reference or 0})")]


def _training(record: SearchRecord) -> list[RenderableType]:
    how = {"completed": "finished"}.get(record.status, record.status)
    lines: list[RenderableType] = [
        Text(f"{record.search_id} {how} in {formats.duration(record.seconds)}", style="bold")
    ]
    if not record.trials or not record.trials[0].metrics:
        return lines
    trial = record.trials[0]
    table = _plain_table()
    table.add_column(justify="right")
    for name, value in trial.metrics.items():
        table.add_row(name, formats.metric(value, name))
    return [*lines, Text(f"validation at epoch {trial.best_epoch} of {trial.epochs}", style="dim"), table]


def _values(record: SearchRecord, trial: TrialRecord, strong: str | None = None) -> list[Text]:
    return [
        Text(formats.metric(trial.metrics.get(name), name), style="bold" if name == strong else "")
        for name in record.objectives
    ]


def _failures(record: SearchRecord) -> list[RenderableType]:
    """Failed trials, grouped by what was said of them apart from its numbers."""
    causes: dict[str, list[TrialRecord]] = {}
    for trial in record.trials:
        if trial.status == "failed":
            causes.setdefault(re.sub(r"\d[\d.e+-]*", "#", trial.reason), []).append(trial)
    lines = []
    for trials in sorted(causes.values(), key=len, reverse=True):
        names = ", ".join(trial.trial for trial in trials[:5]) + (", …" if len(trials) > 5 else "")
        lines.append(
            Text(f"{formats.count(len(trials), 'trial')} failed ({names}): {trials[0].reason}", style="red")
        )
    return [Text(), *lines] if lines else []


def _degraded(record: SearchRecord) -> list[RenderableType]:
    """Trials whose balancing method had no weights for some steps."""
    found = [f"{trial.trial} ({trial.degraded})" for trial in record.trials if trial.degraded]
    if not found:
        return []
    names = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
    return [
        Text(
            f"steps for which balancing had no solution, with equal weights instead: {names}", style="yellow"
        )
    ]


def _where(record: SearchRecord) -> RenderableType:
    table = _plain_table()
    table.columns[0].style = "dim"
    table.add_row("results", str(record.directory))
    uri = without_login(record.tracking_uri or "")
    if is_remote(uri) and record.experiment_id is not None:
        table.add_row("MLflow", experiment_link(uri, record.experiment_id, record.view))
    elif uri:
        table.add_row("MLflow", f"{uri}, experiment {record.name}")
    if not record.told:
        table.add_row("", f"not told everything yet; to finish: {_finishing(record)}")
    commands = []
    if record.status in ("interrupted", "running"):
        commands.append(f"equipoise resume {_reference(record)}")
    if record.kind != "train":
        commands.append(f"equipoise show {record.search_id} --pareto")
    if not is_remote(uri):
        commands.append("equipoise ui")
    for number, command in enumerate(commands):
        table.add_row("" if number else "next", command)
    return table


def _finishing(record: SearchRecord) -> str:
    """What tells MLflow the rest and trains nothing: resuming a run that is not over would go on with it."""
    if record.status == "completed":
        return f"equipoise resume {_reference(record)}"
    return "equipoise doctor --fix" + (
        "" if _in_default_place(record) else f" --storage {record.directory.parent}"
    )


def _reference(record: SearchRecord) -> str:
    """How `equipoise resume` finds the run: by its id where that is enough, else by its folder."""
    return record.search_id if _in_default_place(record) else str(record.directory)


def _in_default_place(record: SearchRecord) -> bool:
    return str(record.directory.parent) == str(Path(TrackingConfig().storage).absolute())


def _plain_table() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table
