"""Pictures of what a model gets wrong."""

from dataclasses import replace

import numpy as np

from orchestrator.tracking.diagrams import worst_mistakes
from tests.trainables.synthetic import TASKS, prepared, trial
from trainables.data.joined import JoinedImages
from trainables.data.prepared import TaskLabels
from trainables.training.predictions import Predictions


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
