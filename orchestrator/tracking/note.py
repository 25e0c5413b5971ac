"""Notes in Markdown: on a search's own run what was found, with links to it, and on a model how it is used."""

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


def model_note(model_id: str) -> str:
    """On a logged model: how it is used."""
    return f"""Where Equipoise is installed:

```python
import mlflow, pandas

model = mlflow.pyfunc.load_model("models:/{model_id}")
model.predict(pandas.DataFrame({{"image": [open("photo.jpg", "rb").read()]}}))
```"""


def _choices(record: SearchRecord) -> str:
    """The best of each objective and the balanced choice, a row each."""
    rows: list[tuple[str, TrialRecord]] = []
    for objective in record.objectives:
        if best := record.best(objective):
            which = "Lowest" if pareto.direction(objective) == "min" else "Best"
            rows.append((f"{which} {objective}", best))
    if (choice := record.balanced) and len(record.objectives) > 1:
        rows.append(("**Balanced choice**", choice))
    header = ["", "trial", *record.objectives]
    return _table(header, [[name, *_results(record, trial)] for name, trial in rows])


def _front(record: SearchRecord) -> str:
    front = record.front
    table = _table(["trial", *record.objectives], [_results(record, trial) for trial in front[:MOST_ROWS]])
    left_off = f"\n\n… and {len(front) - MOST_ROWS} more" if len(front) > MOST_ROWS else ""
    return f"**Pareto set ({len(front)})**\n\n{table}{left_off}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; MLflow's page leaves nothing between its columns, so every cell brings its space."""
    first, *others = (f"| {'&emsp; | '.join(cells)} |" for cells in (header, *rows))
    return "\n".join([first, "|" + "---|" * len(header), *others])


def _results(record: SearchRecord, trial: TrialRecord) -> list[str]:
    """A row: the trial, with a link, and what it achieved."""
    return [_trial(record, trial), *(_value(trial.metrics, name) for name in record.objectives)]


def _trial(record: SearchRecord, trial: TrialRecord) -> str:
    if trial.run_id is None or record.experiment_id is None:
        return trial.trial
    return f"[{trial.trial}](#/experiments/{record.experiment_id}/runs/{trial.run_id}?{MODE})"


def _value(metrics: Mapping[str, float], name: str) -> str:
    return formats.metric(metrics[name], name) if name in metrics else ""
