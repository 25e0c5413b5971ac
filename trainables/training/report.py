"""What one epoch has to say."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch of one trial."""

    epoch: int
    """From 1."""
    metrics: dict[str, float]
    """Validation: `<task>.<metric>`, `<task>.loss` and `score` (mean of the tasks' metrics)."""
    training: dict[str, float]
    """`<task>.train_loss`, `<task>.weight`, `<task>.labels_seen`, `lr` and `images_per_second`."""
    seconds: float
    """Time inside the epoch, validation included."""
    best: bool
    """Whether this is the selected epoch so far."""
    finished: bool
    """Whether the training is over: its last epoch, or stopped early."""
