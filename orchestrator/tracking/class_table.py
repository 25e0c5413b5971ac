"""How well a trial knows each class: a line per task and class, as CSV, which MLflow's page shows as a table."""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.data.prepared import TaskLabels
from trainables.training.predictions import TaskPredictions

HEADER = ("task", "class", "images", "recall", "precision", "mostly mistaken for", "predicted", "right")


def class_table(
    predictions: Mapping[str, TaskPredictions],
    labels: Mapping[str, TaskLabels],
    classes: Mapping[str, Sequence[str]],
) -> str:
    """One line per class (multilabel: per tag) of every task, over the validation images that have a label for it.

    `images` have the class, `predicted` are said to, `right` are both. Recall and precision are empty where nothing
    has the class, or nothing is said to. Tags are not mistaken for each other.

    Args:
        predictions: by task.
        labels: of the same examples, by task.
        classes: names by task.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for task, own in predictions.items():
        present, names = labels[task].present, classes[task]
        predicted, truth = own.predicted[present], labels[task].values[present]
        for k, name in enumerate(names):
            if predicted.ndim == 2:
                said, true, mistaken = predicted[:, k] == 1, truth[:, k] == 1, ""
            else:
                said, true = predicted == k, truth == k
                mistaken = _most(predicted[true & ~said], names)
            right = int((said & true).sum())
            images, answers = int(true.sum()), int(said.sum())
            recall, precision = (f"{right / count:.4f}" if count else "" for count in (images, answers))
            writer.writerow([task, name, images, recall, precision, mistaken, answers, right])
    return stream.getvalue()


def _most(wrong: NDArray[np.int32], names: Sequence[str]) -> str:
    """The class that occurs most among wrong predictions, the first of several; empty without one."""
    return names[int(np.bincount(wrong).argmax())] if len(wrong) else ""
