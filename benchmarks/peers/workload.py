"""The workload that every contender runs, written as a practitioner would without Equipoise.

digits-pair, a small CNN of width 16, 32 or 64, Adam, batch 256, five epochs, validation after each; learning rate,
width and task weights are drawn at random. No Equipoise code below the data set, which is the same array for all.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

EPOCHS = 5
BATCH = 256
TRIALS = 24


class TwoDigits(nn.Module):
    """Two convolutions, a narrow shared layer, a linear head per task."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 3 * 3, width),
            nn.ReLU(),
        )
        self.left = nn.Linear(width, 10)
        self.right = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(images)
        return self.left(features), self.right(features)


def load_arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Train and validation images and labels of the embedded data set, as plain arrays."""
    from trainables.config.data import DataConfig
    from trainables.config.tasks import MulticlassTask
    from trainables.data.prepare import prepare_data

    tasks = {"left": MulticlassTask(label="left"), "right": MulticlassTask(label="right")}
    data = prepare_data(DataConfig(source="builtin:digits-pair"), tasks, seed=0)
    arrays = {}
    for split in ("train", "val"):
        rows = data.splits[split]
        arrays[f"{split}_images"] = np.array(data.images[rows])
        arrays[f"{split}_left"] = data.labels["left"].values[rows]
        arrays[f"{split}_right"] = data.labels["right"].values[rows]
    return arrays


def train(
    arrays: dict[str, np.ndarray[Any, Any]],
    *,
    width: int,
    lr: float,
    left_weight: float,
    report: Callable[[int, dict[str, float]], None],
) -> float:
    """Train one trial in fp32; returns the seconds spent training and validating."""
    began = time.perf_counter()
    images = torch.from_numpy(arrays["train_images"])
    labels = torch.from_numpy(np.stack([arrays["train_left"], arrays["train_right"]], axis=1))
    val_images = torch.from_numpy(arrays["val_images"]).float().div_(255)
    val_left, val_right = torch.from_numpy(arrays["val_left"]), torch.from_numpy(arrays["val_right"])
    model = TwoDigits(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        order = torch.randperm(len(images))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            left, right = model(images[batch].float().div_(255))
            target = labels[batch]
            loss = left_weight * F.cross_entropy(left, target[:, 0])
            loss = loss + (1 - left_weight) * F.cross_entropy(right, target[:, 1])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        model.eval()
        with torch.no_grad():
            left, right = model(val_images)
            metrics = {
                "left_accuracy": (left.argmax(1) == val_left).float().mean().item(),
                "right_accuracy": (right.argmax(1) == val_right).float().mean().item(),
                "left_loss": F.cross_entropy(left, val_left).item(),
                "right_loss": F.cross_entropy(right, val_right).item(),
            }
        metrics["score"] = (metrics["left_accuracy"] + metrics["right_accuracy"]) / 2
        report(epoch, metrics)
    return time.perf_counter() - began
