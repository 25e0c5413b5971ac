"""The note on a search's own run: Markdown that says what was found, and leads to it with one click."""

import math
from collections.abc import Mapping, Sequence

from orchestrator.report import formats, pareto
from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.tracking import scheme

MOST_ROWS = 50
MODE = "workflowType=machine_learning"
"""MLflow's training mode; by default its pages are about agents."""


def first_note(record: SearchRecord) -> str:
    """While the search runs."""
    tasks = ", ".join(record.spec.get("tasks") or {})
    return f"**{record.search_id}** searches trade-offs between {tasks or 'tasks'}.\n\nThe search is running."


def last_note(record: SearchRecord, view: str | None) -> str:
    """Best per objective, the balanced choice, the Pareto set, and what to do next.

    Args:
        record: the search, with MLflow's ids of its runs.
        view: id of the saved view of trade-offs; None where there is none.
    """
    counts = {status: sum(trial.status == status for trial in record.trials) for status in scheme.STATUS}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    parts = [f"**{record.search_id}**: {len(record.trials)} trials ({told})."]
    if view is not None and record.experiment_id is not None:
        link = (
            f"#/experiments/{record.experiment_id}/runs?viewStateShareKey={view}&compareRunsMode=CHART&{MODE}"
        )
        parts.append(f"[Compare the trials: trade-offs]({link})")
    if record.candidates:
        parts += [_choices(record), _front(record)]
    volume = record.hypervolume()
    if record.candidates and not math.isnan(volume):
        reference = ", ".join(f"{name} {point:g}" for name, point in record.reference.items())
        parts.append(f"Hypervolume {volume:.4f}, measured from {reference}.")
    parts.append(f"```\nequipoise show {record.search_id} --pareto\n```")
    return "\n\n".join(parts)


def _choices(record: SearchRecord) -> str:
    """The best of each objective and the balanced choice, a row each."""
    rows: list[tuple[str, TrialRecord]] = []
    for objective in record.objectives:
        if best := record.best(objective):
            which = "Lowest" if pareto.direction(objective) == "min" else "Best"
            rows.append((f"{which} {objective}", best))
    if (choice := record.balanced) and len(record.objectives) > 1:
        rows.append(("**Balanced choice**", choice))
    return _table(record, "", rows)


def _front(record: SearchRecord) -> str:
    front = record.front
    shown = [("", trial) for trial in front[:MOST_ROWS]]
    left_off = f"\n\n… and {len(front) - MOST_ROWS} more" if len(front) > MOST_ROWS else ""
    return _table(record, f"Pareto set ({len(front)})", shown) + left_off


def _table(record: SearchRecord, title: str, rows: Sequence[tuple[str, TrialRecord]]) -> str:
    lines = [
        f"| {title} | trial | {' | '.join(record.objectives)} |",
        f"|---|---|{'---:|' * len(record.objectives)}",
    ]
    for name, trial in rows:
        values = " | ".join(_value(trial.metrics, objective) for objective in record.objectives)
        lines.append(f"| {name} | {_trial(record, trial)} | {values} |")
    return "\n".join(lines)


def _trial(record: SearchRecord, trial: TrialRecord) -> str:
    if trial.run_id is None or record.experiment_id is None:
        return trial.trial
    return f"[{trial.trial}](#/experiments/{record.experiment_id}/runs/{trial.run_id}?{MODE})"


def _value(metrics: Mapping[str, float], name: str) -> str:
    return formats.metric(metrics[name], name) if name in metrics else ""
