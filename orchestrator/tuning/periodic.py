"""What is looked at now and then while Ray Tune runs."""

import time
from collections.abc import Callable
from typing import Any

from ray import tune

SECONDS_BETWEEN_LOOKS = 2.0


class Periodic(tune.Callback):  # type: ignore[misc] # Ray is untyped
    """Calls functions between two steps of Tune, every two seconds. Tune waits for them."""

    def __init__(self, *looks: Callable[[], None]) -> None:
        self._looks = looks
        self._looked = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Call them, if it is time."""
        if time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            for look in self._looks:
                look()
