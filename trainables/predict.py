"""A trained model on its own: from encoded images to classes, without the data it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.config.tasks import BinaryTask, MulticlassTask
from trainables.config.trial import TrialConfig
from trainables.data.images import Transform, UnreadableImageError, decode_image
from trainables.errors import DataError
from trainables.model.multitask import build_model
from trainables.training.images import ImageBatches
from trainables.training.precision import resolve_precision
from trainables.training.state import ModelState, load_model_state
from trainables.training.world import World

BATCH = 64


@dataclass(frozen=True)
class Answer:
    """What the model says of one image for one task."""

    label: str | list[str]
    """The class; of a multilabel task all tags that apply."""
    confidence: float
    """Probability of that class, in (0, 1]; of a multilabel task that of the least certain tag."""
    probabilities: list[float]
    """Of every class, in the order of `Predictor.classes`; of a multilabel task of every tag by itself."""


class Predictor:
    """The model of a trial's selected epoch, with the preprocessing that it was trained with, on the CPU."""

    classes: dict[str, tuple[str, ...]]
    """Class names by task; binary: (negative, positive)."""

    def __init__(self, state: ModelState) -> None:
        meta = state.meta
        self.config = TrialConfig.model_validate(meta["config"])
        self.classes = {task: tuple(names) for task, names in meta["classes"].items()}
        channels, height, width = meta["image_shape"]
        self._transform = Transform((height, width), channels, self.config.data.max_pixels)
        outputs = {
            task: 1 if isinstance(own, BinaryTask) else len(self.classes[task])
            for task, own in self.config.tasks.items()
        }
        self._mean, self._std = tuple(meta["mean"]), tuple(meta["std"])
        self._model = build_model(
            self.config.model,
            channels=len(self._mean),
            image_size=(height, width),
            outputs=outputs,
            seed=self.config.seed,
            load=False,
        )
        self._world = World.single(torch.device("cpu"))
        self._precision = resolve_precision(self.config.training.precision, self._world, self._model.backbone)
        self._model.to(dtype=self._precision.parameters)
        self._model.load_state_dict(state.tensors)
        self._model.to(memory_format=self._precision.memory_format)
        self._model.eval()

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The model that `save_state` wrote into `directory`.

        Raises:
            TrainingError: it is not there or not whole.
        """
        return cls(load_model_state(directory))

    def decode(self, encoded: bytes) -> NDArray[np.uint8]:
        """An image file's bytes as the model sees it: (C, H, W).

        Raises:
            DataError: it is no image, damaged or too large.
        """
        try:
            return decode_image(encoded, self._transform)
        except UnreadableImageError as error:
            raise DataError(f"An image cannot be read: {error}.") from error

    @torch.no_grad()
    def logits(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Logits (B, K_t) by task of decoded images (B, C, H, W)."""
        batches = ImageBatches(images, self._mean, self._std, self._precision, self._world.device)
        parts: dict[str, list[Tensor]] = {task: [] for task in self.config.tasks}
        for rows in torch.split(torch.arange(len(images)), BATCH):
            with torch.autocast("cpu", torch.bfloat16, enabled=self._precision.autocast):
                outputs = self._model(batches.batch(rows))
            for task, own in outputs.items():
                parts[task].append(own.to(self._precision.parameters))
        return {task: torch.cat(own) for task, own in parts.items()}

    def answers(self, images: Sequence[bytes]) -> dict[str, list[Answer]]:
        """By task, what the model says of each of the image files.

        Raises:
            DataError: one of them is no image, damaged or too large.
        """
        if not images:
            return {task: [] for task in self.config.tasks}
        logits = self.logits(np.stack([self.decode(encoded) for encoded in images]))
        return {task: [self._answer(task, row) for row in own.double()] for task, own in logits.items()}

    def _answer(self, task: str, logits: Tensor) -> Answer:
        names, config = self.classes[task], self.config.tasks[task]
        if isinstance(config, MulticlassTask | BinaryTask):
            if isinstance(config, BinaryTask):
                p = torch.stack([torch.sigmoid(-logits[0]), torch.sigmoid(logits[0])])
            else:
                p = logits.softmax(0)
            likeliest = int(p.argmax())
            return Answer(names[likeliest], float(p[likeliest]), p.tolist())
        p = logits.sigmoid()
        certain = torch.maximum(p, 1 - p)
        tags = [name for name, value in zip(names, p.tolist(), strict=True) if value > 0.5]
        return Answer(tags, float(certain.min()), p.tolist())
