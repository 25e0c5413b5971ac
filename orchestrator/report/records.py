"""Searches and their trials as reports see them, read from the journal alone (`search_log`)."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.report import pareto

if TYPE_CHECKING:
    import pandas

TrialStatus = Literal["running", "completed", "pruned", "failed", "interrupted"]


@dataclass(frozen=True)
class TrialRecord:
    """One trial. Times are in seconds."""

    trial: str
    number: int
    status: TrialStatus
    reason: str
    """Why it ended before its last epoch; empty for a completed trial."""
    config: dict[str, Any]
    """What was searched: dotted key to value."""
    metrics: dict[str, float]
    """Validation at the selected epoch: `<task>.<metric>`, `<task>.loss`, `score`; and `model.<cost>`."""
    best_epoch: int | None
    """The selected epoch."""
    epochs: int
    """Finished epochs."""
    seconds: float | None
    """From being started to its end."""
    train_seconds: float
    """Inside epochs, validation included."""
    start_seconds: float | None
    """From being started to the first step."""
    run_id: str | None = None
    """MLflow's id."""
    pareto: bool = False
    """Whether it is completed and no completed trial dominates it."""
    resolved: dict[str, Any] = field(default_factory=dict, repr=False)
    """The whole TrialConfig."""
    reports: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """Its epoch reports, oldest first."""

    @property
    def degraded(self) -> int:
        """Steps that used equal weights because the balancing method had none for them."""
        return int(sum(report.get("training", {}).get("fallbacks", 0) for report in self.reports))


@dataclass(frozen=True)
class SearchRecord:
    """One search (or one plain training: `kind` "train", one trial)."""

    search_id: str
    name: str
    kind: str
    directory: Path
    status: str
    """"running" until the journal says how it ended; a killed search stays so."""
    started: float
    """Seconds since 1970."""
    seconds: float
    """At work, until its end or the last event so far; not the time between an interrupt and a resume."""
    trials: tuple[TrialRecord, ...]
    objectives: tuple[str, ...]
    spec: dict[str, Any] = field(repr=False)
    data: dict[str, Any] = field(repr=False)
    slots: dict[str, Any] = field(default_factory=dict)
    """`slots`, and of each its `workers`, and of each of those its `cpus` and `gpus`."""
    tracking_uri: str | None = None
    experiment_id: str | None = None
    run_id: str | None = None
    """MLflow's id of the search's own run."""
    view: str | None = None
    """Id of MLflow's saved view that compares its trials."""
    told: bool = False
    """Whether MLflow has been told all that the journal says."""

    @property
    def candidates(self) -> tuple[TrialRecord, ...]:
        """The trials that are compared: completed ones. What was pruned or failed stopped half-trained."""
        return tuple(trial for trial in self.trials if trial.status == "completed")

    @property
    def front(self) -> tuple[TrialRecord, ...]:
        """The Pareto set, best on the first objective first."""
        chosen = [trial for trial in self.trials if trial.pareto]
        if self.objectives:
            first = self.objectives[0]
            sign = -1.0 if pareto.direction(first) == "max" else 1.0
            chosen.sort(key=lambda trial: (sign * trial.metrics[first], trial.number))
        return tuple(chosen)

    @property
    def balanced(self) -> TrialRecord | None:
        """The trial that sacrifices no objective (`pareto.balanced`)."""
        row = pareto.balanced(self._values(), self._directions())
        return None if row is None else self.candidates[row]

    def best(self, objective: str) -> TrialRecord | None:
        """The completed trial that is best on one objective; the earlier of equals."""
        sign = 1.0 if pareto.direction(objective) == "max" else -1.0
        measured = [
            trial for trial in self.candidates if not math.isnan(trial.metrics.get(objective, math.nan))
        ]
        return max(measured, key=lambda trial: sign * trial.metrics[objective], default=None)

    @property
    def reference(self) -> dict[str, float]:
        """The point the hypervolume is measured from (`pareto.reference_point`)."""
        return pareto.reference_point(self._values(), self.objectives)

    def hypervolume(self) -> float:
        """Hypervolume of the completed trials over `objectives`."""
        return pareto.hypervolume(self._values(), self._directions(), list(self.reference.values()))

    def to_frame(self) -> "pandas.DataFrame":
        """One row per trial: its facts, then a column per searched key and per metric, by dotted name."""
        import pandas

        facts = (
            "trial",
            "status",
            "pareto",
            "epochs",
            "best_epoch",
            "seconds",
            "train_seconds",
            "start_seconds",
        )
        rows = [
            {
                **{name: getattr(trial, name) for name in facts},
                **trial.config,
                **trial.metrics,
                "run_id": trial.run_id,
            }
            for trial in self.trials
        ]
        return pandas.DataFrame(rows)

    def _values(self) -> pareto.Values:
        return pareto.objective_values([trial.metrics for trial in self.candidates], self.objectives)

    def _directions(self) -> list[pareto.Direction]:
        return [pareto.direction(name) for name in self.objectives]
