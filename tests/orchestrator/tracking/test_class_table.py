"""The table of classes says what counting by hand says."""

import csv
import io

import numpy as np

from orchestrator.tracking.class_table import class_table
from trainables.data.prepared import TaskLabels
from trainables.training.predictions import TaskPredictions


def predicted(values: list[int] | list[list[int]]) -> TaskPredictions:
    array = np.array(values, dtype=np.int32)
    certain = np.ones(array.shape, dtype=np.float32)
    return TaskPredictions(predicted=array, confidence=certain, surprise=np.zeros(len(array), np.float32))


def test_classes_and_tags_are_counted_where_there_is_a_label() -> None:
    predictions = {
        "shape": predicted([0, 1, 1, 2, 1, 0]),
        "tags": predicted([[1, 0], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1]]),
    }
    labels = {
        "shape": TaskLabels(np.array([0, 0, 0, 0, 1, 2]), np.array([1, 1, 1, 1, 1, 0], dtype=bool)),
        "tags": TaskLabels(
            np.array([[1, 0], [0, 1], [1, 0], [1, 0], [0, 0], [0, 0]]),
            np.array([1, 1, 1, 1, 0, 0], dtype=bool),
        ),
    }
    classes = {"shape": ["disc", "ring", "bar"], "tags": ["big", 'a "far" one']}
    rows = list(csv.reader(io.StringIO(class_table(predictions, labels, classes))))
    assert rows[1:] == [
        ["shape", "disc", "4", "0.2500", "1.0000", "ring", "1", "1"],
        ["shape", "ring", "1", "1.0000", "0.3333", "", "3", "1"],
        ["shape", "bar", "0", "", "0.0000", "", "1", "0"],
        ["tags", "big", "3", "0.6667", "0.6667", "", "3", "2"],
        ["tags", 'a "far" one', "1", "1.0000", "1.0000", "", "1", "1"],
    ]
