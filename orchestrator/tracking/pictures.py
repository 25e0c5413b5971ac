"""Pictures and tables of one trial, made from the predictions that its slot left beside the selected model.

Made by the writer's process, so neither slots nor the search's driver spend time on them.
"""

import hashlib
import io
from pathlib import Path

from orchestrator.tracking.canvas import Canvas
from orchestrator.tracking.class_table import class_table
from orchestrator.tracking.diagrams import task_diagram
from orchestrator.tracking.mistakes import worst_mistakes
from trainables.data.prepared import TaskLabels, load_prepared
from trainables.training.predictions import FILE, Predictions

MOST_TASKS = 12
"""Tasks that get a diagram."""


def has_predictions(trial: Path) -> bool:
    """Whether a trial's folder holds what pictures are made from."""
    return (trial / "best" / FILE).is_file()


def trial_files(trial: Path, epoch: int | None, time: int) -> dict[str, bytes]:
    """Artifacts by path: diagrams and the worst mistakes, also for MLflow's image grid; all classes and predictions.

    Args:
        trial: the trial's folder.
        epoch: the selected one.
        time: milliseconds, for the names in the grid: the same for the same trial, so that telling twice adds none.

    Raises:
        ValueError: the predictions cannot be read, or are of another epoch (the trial was killed while it wrote them).
        DataError: the prepared data are gone.
    """
    predictions = Predictions.load(trial / "best")
    if predictions.epoch != epoch:
        raise ValueError(f"there are predictions of epoch {predictions.epoch}, and {epoch} was selected")
    data = load_prepared(predictions.data)
    rows = data.splits["val"]
    labels = {
        task: TaskLabels(data.labels[task].values[rows], data.labels[task].present[rows])
        for task in predictions.tasks
    }
    worst = worst_mistakes(data.images, rows, predictions.tasks, labels, data.classes)
    files = {"evaluation/worst_mistakes.png": worst.png(), **_grid("mistakes/worst", worst, time)}
    files["evaluation/classes.csv"] = class_table(predictions.tasks, labels, data.classes).encode()
    for task, own in list(predictions.tasks.items())[:MOST_TASKS]:
        diagram = task_diagram(task, own, labels[task], data.classes[task])
        files |= {f"evaluation/{task}.png": diagram.png(), **_grid(f"mistakes/{task}", diagram, time)}
    names = data.ids()
    files["evaluation/predictions.parquet"] = _table([names[row] for row in rows], predictions, labels)
    return files


def _grid(key: str, picture: Canvas, time: int) -> dict[str, bytes]:
    """A picture as MLflow's `log_image` files it, under a name that is the same every time."""
    unique = hashlib.sha256(f"{key} {time}".encode()).hexdigest()[:32]
    name = f"images/{key.replace('/', '~')}+step+0+timestamp+{time}+{unique}"
    return {f"{name}.png": picture.png(), f"{name}+compressed.webp": picture.webp()}


def _table(ids: list[str], predictions: Predictions, labels: dict[str, TaskLabels]) -> bytes:
    """One row per validation image: its name, and per task label, prediction, confidence and surprise."""
    import pyarrow
    from pyarrow import parquet

    columns = {"image": pyarrow.array(ids)}
    for task, own in predictions.tasks.items():
        columns[f"{task}.label"] = pyarrow.array(labels[task].values.tolist(), mask=~labels[task].present)
        columns[f"{task}.predicted"] = pyarrow.array(own.predicted.tolist())
        columns[f"{task}.confidence"] = pyarrow.array(own.confidence.tolist())
        columns[f"{task}.surprise"] = pyarrow.array(own.surprise)
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()
