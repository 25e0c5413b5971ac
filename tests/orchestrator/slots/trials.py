"""Small trials for slots: data on disk, assignments, and trials that go wrong on one rank only."""

import os
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import psutil
from torch import Tensor, distributed

from orchestrator.slots.base import Assignment, TrialSlot
from tests.trainables.synthetic import prepared, trial
from trainables.config.trial import TrialConfig
from trainables.data.prepared import write_prepared
from trainables.training.report import EpochReport
from trainables.training.state import load_state

HEADS = {"default": {"kind": "mlp", "hidden": [16], "dropout": 0.25}}


def write_data(directory: Path) -> Path:
    """Learnable images and labels, some of them missing, as `load_prepared` reads them."""
    directory.mkdir(parents=True)
    data = prepared(train=150, val=50, labelled=0.8)
    np.save(directory / "images.npy", np.asarray(data.images))
    write_prepared(
        directory,
        digest=data.digest,
        images=["."],
        ids=[str(row) for row in range(len(data.images))],
        labels=data.labels,
        classes=data.classes,
        splits=data.splits,
        mean=data.mean,
        std=data.std,
        dropped={},
        sources={},
    )
    return directory


def assignment(
    data: Path, directory: Path, *, lr: float = 3e-3, seed: int = 0, epochs: int = 4
) -> Assignment:
    """A trial with dropout, momentum and missing labels, in fp64."""
    training = {
        "epochs": epochs,
        "batch_size": 32,
        "optimizer": {"name": "adam", "lr": lr},
        "schedule": {"name": "cosine"},
        "precision": "fp64",
    }
    config = trial(seed=seed, training=training, model={"heads": HEADS})
    return Assignment(trial=directory.name, config=config, data=data, directory=directory)


def not_finite(data: Path, directory: Path) -> Assignment:
    """A trial whose loss overflows in its first epoch, on every rank."""
    return assignment(data, directory, lr=1e200)


class DiesWhileItStarts:
    """Ends the first worker of Ray Train that unpickles it, before its train function begins. Others get None."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return _die_once, (self._mark,)


def _die_once(mark: Path) -> None:
    if "RayTrainWorker" in psutil.Process().cmdline()[0] and not mark.exists():
        mark.touch()
        os._exit(1)


class _FailsOnRank:
    """A `TrialConfig` that is like another one until a function of the trainer asks it; then one rank raises."""

    def __init__(self, config: TrialConfig, rank: int, during: str, others_hang: bool) -> None:
        self._config = config
        self._rank = rank
        self._during = during
        self._others_hang = others_hang

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if _within(self._during):
            if distributed.get_rank() == self._rank:
                raise ValueError(f"rank {self._rank} has had enough")
            if self._others_hang:
                time.sleep(1000)
        return getattr(self._config, name)


def _within(function: str) -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_qualname != function:
        frame = frame.f_back
    return frame is not None


def failing_on(
    rank: int, good: Assignment, *, during: str = "Trainer.run_epoch", others_hang: bool = False
) -> Assignment:
    """`good`, except that `rank` raises while the others wait for it in a collective (or hang somewhere else)."""
    config = cast(TrialConfig, _FailsOnRank(good.config, rank, during, others_hang))
    return Assignment(trial=good.trial, config=config, data=good.data, directory=good.directory)


def run(slot: TrialSlot, trial: Assignment, epochs: int, checkpoint: Path | None = None) -> list[EpochReport]:
    """Start a trial and run this many epochs."""
    slot.start(trial, checkpoint)
    return [slot.run_epoch() for _ in range(epochs)]


def saved(slot: TrialSlot, directory: Path) -> dict[str, Tensor]:
    """The training state of the slot's trial, by way of the disk."""
    slot.save(directory)
    return load_state(directory).tensors
