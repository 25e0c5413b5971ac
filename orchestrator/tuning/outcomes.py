"""How a trial ended, as those see it who propose the next ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Completed:
    """A trial ran to its end."""

    metrics: Mapping[str, float]
    """Of its selected epoch."""


@dataclass(frozen=True)
class Pruned:
    """A trial was stopped after some epochs, because others did better."""

    epochs: int
    metrics: Mapping[str, float]
    """Of its selected epoch so far."""


@dataclass(frozen=True)
class Failed:
    """A trial ended without a result that counts: by an error, or interrupted for good."""


Outcome = Completed | Pruned | Failed


def recorded_outcome(event: Mapping[str, Any]) -> Outcome:
    """Read the outcome from a `trial_ended` event of a journal."""
    match event["status"]:
        case "completed":
            return Completed(event["metrics"])
        case "pruned":
            return Pruned(event["epochs"], event["metrics"])
        case _:
            return Failed()
