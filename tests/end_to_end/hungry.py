"""A backbone of a user's own that takes memory until it is stopped, for `test_memory_monitor.py`."""

import os
import time
from pathlib import Path

import psutil
from torch import Tensor, nn

MEAL = 100_000_000
"""Bytes."""
LEAVES = 1_500_000_000
"""Bytes of the machine's memory, whatever happens."""


class Hungry(nn.Module):
    """One layer. `hunger`: `never`; `once` (in its second epoch, the first time that it is tried), or `always`."""

    def __init__(self, features: int, hunger: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(features, 16), nn.ReLU())
        self._hunger = hunger
        self._steps = 0

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self._steps += 1
            if self._hunger == "always" or (self._hunger == "once" and self._steps == 20):
                eat(once=self._hunger == "once")
        out: Tensor = self.layers(images)
        return out


def backbone(channels: int, image_size: tuple[int, int], hunger: str) -> nn.Module:
    """Called by the product."""
    return Hungry(channels * image_size[0] * image_size[1], hunger)


def eat(*, once: bool) -> None:
    """Take memory until Ray ends this process."""
    eaten = Path(os.environ["EATEN"])
    if once:
        if eaten.exists():
            return
        eaten.touch()
    kept = []
    while psutil.virtual_memory().available > LEAVES:
        kept.append(bytearray(b"1") * MEAL)
    time.sleep(30)
