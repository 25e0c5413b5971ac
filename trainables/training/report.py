"""What one epoch tells whoever started it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class EpochReport:
    """Result of one epoch: plain numbers, equal on every worker except `seconds` and the speed."""

    epoch: int
    """1-based number of the epoch just finished."""
    metrics: dict[str, float]
    """Validation: `task.metric`, `task.loss` and `score`. NaN where a metric is undefined."""
    training: dict[str, float]
    """`task.train_loss`, `task.weight`, `task.labels_seen`, `lr` (of the last step), `images_per_second`."""
    seconds: float
    """Wall time of the epoch, validation included."""
    best: bool
    """This is the selected epoch so far."""
    finished: bool
    """The last epoch is reached or training stopped early."""
    costs: dict[str, float] = field(default_factory=dict)
    """Of the model, the same in every epoch: `model.parameters`, `model.flops` and `model.latency_ms`."""
