"""Callbacks of Ray Tune that look around now and then."""

import time
from abc import abstractmethod
from typing import Any

from ray import tune

SECONDS_BETWEEN_LOOKS = 2.0


class Periodic(tune.Callback):  # type: ignore[misc] # Ray is untyped
    """Calls `look` between two steps of Tune, every two seconds."""

    def __init__(self) -> None:
        self._looked = time.monotonic()

    @abstractmethod
    def look(self) -> None:
        """Look around. Tune waits for it."""

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look, if it is time."""
        if time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            self.look()
