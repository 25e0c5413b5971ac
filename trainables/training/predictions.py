"""What the model of the selected epoch says of every validation example, in a file beside it. Without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trainables.checksum import META, DamagedError, verify, with_checksum
from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask, TaskConfig
from trainables.data.prepared import PreparedData, TaskLabels
from trainables.durable import flush
from trainables.training.storage import writing

FILE = "predictions.safetensors"
NAMES = ("predicted", "confidence", "surprise")
"""What is kept of each task."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TaskPredictions:
    """Of one task, for N examples; multilabel tasks have K tags.

    Attributes:
        predicted: (N,) class index; multilabel (N, K) 0 or 1.
        confidence: the probability of what is predicted, in (0, 1]: (N,); multilabel (N, K).
        surprise: (N,) -log of the probability of the truth, multilabel mean over tags: what the example adds to
            the unweighted loss. NaN without label.
    """

    predicted: NDArray[np.int32]
    confidence: Floats
    surprise: Floats

    def wrong(self, labels: TaskLabels) -> NDArray[np.bool_]:
        """(N,): there is a label and the prediction differs. `labels` are those of the same examples."""
        differs = self.predicted != labels.values
        result: NDArray[np.bool_] = (differs.any(axis=1) if differs.ndim == 2 else differs) & labels.present
        return result


@dataclass(frozen=True)
class Predictions:
    """Predictions of the validation examples of `data`, in the order of its split, by task."""

    data: Path
    """Directory of the prepared data."""
    epoch: int
    tasks: Mapping[str, TaskPredictions]

    @classmethod
    def of(
        cls,
        tasks: Mapping[str, TaskConfig],
        logits: Mapping[str, NDArray[np.floating[Any]]],
        data: PreparedData,
        epoch: int,
    ) -> Self:
        """From logits (N, K_t) of the validation examples."""
        rows = data.splits["val"]
        found = {}
        for task, config in tasks.items():
            labels = TaskLabels(data.labels[task].values[rows], data.labels[task].present[rows])
            found[task] = _of_task(config, logits[task].astype(np.float64), labels)
        return cls(data.directory, epoch, found)

    def save(self, directory: Path) -> None:
        """Write or replace the file in `directory`, which exists. Raises `StorageError`."""
        arrays = {
            f"{name}/{task}": np.ascontiguousarray(getattr(own, name))
            for task, own in self.tasks.items()
            for name in NAMES
        }
        meta = json.dumps({"data": str(self.data), "epoch": self.epoch, "tasks": list(self.tasks)})
        unfinished = directory / f".{FILE}.tmp"
        with writing(directory):
            try:
                save_file(arrays, unfinished, with_checksum(meta, arrays))
                flush(unfinished)
                unfinished.replace(directory / FILE)
                flush(directory)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: it is not there or not whole.
        """
        try:
            with safe_open(directory / FILE, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
                metadata = file.metadata() or {}
            verify(metadata, arrays)
            meta = json.loads(metadata[META])
            tasks = {
                task: TaskPredictions(*(arrays[f"{name}/{task}"] for name in NAMES)) for task in meta["tasks"]
            }
            return cls(Path(meta["data"]), meta["epoch"], tasks)
        except (OSError, KeyError, SafetensorError, DamagedError) as error:
            raise ValueError(f"{directory / FILE} cannot be read: {error}") from error


def _of_task(config: TaskConfig, logits: NDArray[np.float64], labels: TaskLabels) -> TaskPredictions:
    match config:
        case MulticlassTask():
            shifted = logits - logits.max(axis=1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            predicted = log_p.argmax(axis=1)
            confidence = np.exp(log_p.max(axis=1))
            surprise = -np.take_along_axis(log_p, labels.values[:, None].astype(np.int64), axis=1)[:, 0]
        case BinaryTask():
            z = logits[:, 0]
            predicted = z > 0
            confidence = _sigmoid(np.abs(z))
            surprise = np.logaddexp(0.0, np.where(labels.values > 0, -z, z))
        case MultilabelTask():
            predicted = logits > 0
            confidence = _sigmoid(np.abs(logits))
            surprise = np.logaddexp(0.0, np.where(labels.values > 0, -logits, logits)).mean(axis=1)
    surprise = np.where(labels.present, surprise, np.nan)
    return TaskPredictions(
        predicted.astype(np.int32), confidence.astype(np.float32), surprise.astype(np.float32)
    )


def _sigmoid(positive: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 / (1 + np.exp(-positive))
    return result
