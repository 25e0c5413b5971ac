"""Pictures of what a model gets wrong."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from orchestrator.tracking.canvas import BLUE, ORANGE, PALE, RED, Canvas
from orchestrator.tracking.diagrams import FEW, task_diagram
from orchestrator.tracking.mistakes import worst_mistakes
from tests.trainables.synthetic import TASKS, prepared, trial
from trainables.data.joined import JoinedImages
from trainables.data.prepared import TaskLabels
from trainables.training.predictions import Predictions, TaskPredictions


def test_mistakes_are_shown_from_sources_grey_and_in_colours() -> None:
    data = prepared(channels=3)
    grey = np.repeat(np.asarray(data.images)[:, :1], 3, 1)
    images = JoinedImages((grey[:100, :1], grey[100:]))
    rows = data.splits["val"]
    assert min(rows) < 100 <= max(rows)
    logits = {
        task: np.random.default_rng(0).normal(size=(len(rows), k))
        for task, k in zip(TASKS, (3, 1, 4), strict=True)
    }
    found = Predictions.of(trial().tasks, logits, data, 1).tasks
    labels = {task: TaskLabels(own.values[rows], own.present[rows]) for task, own in data.labels.items()}
    pages = [
        worst_mistakes(own, rows, found, labels, data.classes).png()
        for own in (images, replace(data, images=grey).images)
    ]
    assert pages[0] == pages[1]
    assert len(pages[0]) > 10_000


def colors(canvas: Canvas) -> set[object]:
    found = Image.open(io.BytesIO(canvas.png())).convert("RGB").getcolors(2**20)
    assert found is not None
    return {color for _, color in found}


def sure(predicted: list[int] | list[list[int]]) -> TaskPredictions:
    array = np.array(predicted, dtype=np.int32)
    return TaskPredictions(array, np.full(array.shape, 0.7, np.float32), np.ones(len(array), np.float32))


@pytest.mark.parametrize(("count", "shown", "not_shown"), [(FEW - 1, PALE, BLUE), (FEW, BLUE, PALE)])
def test_bars_of_few_predictions_are_pale(
    count: int, shown: tuple[int, int, int], not_shown: tuple[int, int, int]
) -> None:
    labels = TaskLabels(np.ones(count, np.int64), np.ones(count, bool))
    found = colors(task_diagram("logo", sure([1] * count), labels, ["no", "yes"]))
    assert shown in found
    assert not_shown not in found


def test_tags_that_are_missed_and_invented_are_told_apart() -> None:
    labels = TaskLabels(np.array([[1, 0], [1, 0]]), np.ones(2, bool))
    tags = ["striped", "dotted"]
    missed, invented = [[0, 0], [1, 0]], [[1, 1], [1, 0]]
    bars = {
        name: Image.open(io.BytesIO(task_diagram("style", sure(said), labels, tags).png()))
        .crop((130, 74, 400, 470))
        .getcolors(2**16)
        for name, said in {"missed": missed, "invented": invented}.items()
    }
    found = {name: {color for _, color in own or ()} for name, own in bars.items()}
    assert (BLUE in found["missed"], ORANGE in found["missed"]) == (True, False)
    assert (BLUE in found["invented"], ORANGE in found["invented"]) == (False, True)


def test_only_mistakes_are_shown_and_what_is_wrong_is_red() -> None:
    images = np.zeros((2, 1, 8, 8), np.uint8)
    labels = {"digit": TaskLabels(np.array([0, 1]), np.ones(2, bool))}
    classes = {"digit": ["zero", "one"]}
    rows = np.arange(2)
    right, wrong = (
        worst_mistakes(images, rows, {"digit": sure(said)}, labels, classes) for said in ([0, 1], [0, 0])
    )
    assert RED not in colors(right)
    assert RED in colors(wrong)
