"""The time of a run: right when it begins, and even from then on."""

import time
from dataclasses import dataclass, field


def _passed() -> float:
    """Seconds that nobody can turn back, those in which the machine slept among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Clock:
    """Seconds since 1970 by the machine's clock when this was made, plus what has passed since.

    What lies between two of its times has passed in between, whoever sets the machine's clock meanwhile.
    """

    zero: float = field(default_factory=lambda: time.time() - _passed())
    """When `_passed` was 0."""

    def now(self) -> float:
        """Seconds since 1970."""
        return self.zero + _passed()
