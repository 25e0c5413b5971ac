"""Best means one epoch: which one, and when to stop looking for a better one."""

import math
from typing import Any

from trainables.config.training import EarlyStop, Select


class Selection:
    """Compares epochs by one metric. NaN is worse than any number; ties keep the earlier epoch."""

    def __init__(self, select: Select, early_stop: EarlyStop | None) -> None:
        self.select = select
        self.early_stop = early_stop
        self.epoch = 0
        """The selected epoch, 1-based; 0 before the first."""
        self.metrics: dict[str, float] = {}
        self.waited = 0
        """Epochs since the selected one."""

    def update(self, epoch: int, metrics: dict[str, float]) -> bool:
        """Whether `epoch` is now the selected one."""
        new = metrics[self.select.metric]
        better = self.epoch == 0
        if not better and not math.isnan(new):
            old = self.metrics[self.select.metric]
            better = math.isnan(old) or (new > old if self.select.mode == "max" else new < old)
        if better:
            self.epoch, self.metrics, self.waited = epoch, dict(metrics), 0
        else:
            self.waited += 1
        return better

    @property
    def stops(self) -> bool:
        """Whether patience has run out."""
        return self.early_stop is not None and self.waited >= self.early_stop.patience

    def state_dict(self) -> dict[str, Any]:
        """JSON; NaN as null."""
        metrics = {name: None if math.isnan(value) else value for name, value in self.metrics.items()}
        return {"epoch": self.epoch, "metrics": metrics, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.epoch = state["epoch"]
        self.metrics = {
            name: math.nan if value is None else value for name, value in state["metrics"].items()
        }
        self.waited = state["waited"]
