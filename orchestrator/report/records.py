"""Searches and their trials as reports see them, read from the journal alone."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import ConfigError
from orchestrator.report import pareto
from orchestrator.runs.journal import FILE_NAME, Event, read_journal
from orchestrator.tracking.state import read_state

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


class SearchLog:
    """Folds journal events into records, one at a time: the same for files, displays and MLflow."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: Event = {}
        self.ended: Event | None = None
        self.last_time = 0.0
        """Of the last event, seconds since 1970."""
        self.counted_from = 0.0
        """When the present life of the run began, less the time that it was at work before: seconds since 1970."""
        self._trials: dict[str, _OpenTrial] = {}

    def feed(self, event: Event) -> None:
        """Take in the next event. Unknown kinds of events are passed over."""
        self.last_time = event["time"]
        match event["event"]:
            case "search_started" | "search_resumed":
                self.started = self.started or event
                self.ended = None
                self.counted_from = event.get("began", event["time"]) - event.get("earlier_seconds", 0.0)
            case "trial_started":
                self._trials.setdefault(event["trial"], _OpenTrial(event)).ended = None
            case "trial_restarted":
                self._trials[event["trial"]].ended = None
            case "epoch":
                report = event["report"]
                self._trials[event["trial"]].reports[report["epoch"]] = report
            case "trial_ended":
                self._trials[event["trial"]].ended = event
            case "search_ended":
                self.ended = event

    @property
    def objectives(self) -> tuple[str, ...]:
        """What is traded off."""
        return objectives_of(self.started)

    @property
    def began(self) -> float:
        """When the command was given, seconds since 1970."""
        return float(self.started.get("began") or self.started.get("time") or self.last_time)

    def trial(self, trial: str) -> TrialRecord:
        """One trial as far as it got (without its place in the Pareto set)."""
        return self._trials[trial].record(search_over=self.ended is not None)

    def record(
        self, *, experiment_id: str | None = None, runs: Mapping[str, str] | None = None
    ) -> SearchRecord:
        """Everything so far. `runs` are MLflow's run ids by trial, under "" the search's own."""
        start, runs = self.started, runs or {}
        objectives = self.objectives
        trials = [self.trial(name) for name in self._trials]
        trials.sort(key=lambda trial: trial.number)
        completed = [trial for trial in trials if trial.status == "completed"]
        on_front = pareto.non_dominated(
            pareto.objective_values([trial.metrics for trial in completed], objectives),
            [pareto.direction(name) for name in objectives],
        )
        front = {
            trial.trial for trial, chosen in zip(completed, on_front, strict=True) if chosen and objectives
        }
        began, at_work = self.began, self.last_time - self.counted_from
        return SearchRecord(
            search_id=start.get("search_id", self.directory.name),
            name=start.get("name", ""),
            kind=start.get("kind", "search"),
            directory=self.directory,
            status=self.ended["status"] if self.ended else "running",
            started=began,
            seconds=self.ended.get("seconds", at_work) if self.ended else at_work,
            trials=tuple(
                dataclasses.replace(trial, pareto=trial.trial in front, run_id=runs.get(trial.trial))
                for trial in trials
            ),
            objectives=objectives,
            spec=start.get("spec", {}),
            data=start.get("data") or {},
            slots=start.get("slots") or {},
            tracking_uri=start.get("tracking_uri"),
            experiment_id=experiment_id,
            run_id=runs.get(""),
        )


class _OpenTrial:
    """What the journal said of one trial."""

    def __init__(self, started: Event) -> None:
        self.started = started
        self.reports: dict[int, dict[str, Any]] = {}
        self.ended: Event | None = None

    def record(self, *, search_over: bool) -> TrialRecord:
        end: Event = self.ended or {}
        selected = next((report for report in reversed(self.reports.values()) if report.get("best")), None)
        metrics = end.get("metrics") or (results_of(selected) if selected else {})
        best_epoch = end.get("best_epoch") or (selected["epoch"] if selected else None)
        trained = sum(report.get("seconds", 0.0) for report in self.reports.values())
        return TrialRecord(
            trial=self.started["trial"],
            number=self.started["number"],
            status=end.get("status") or ("interrupted" if search_over else "running"),
            reason=end.get("reason") or "",
            config=flat(self.started.get("config") or {}),
            metrics=dict(metrics),
            best_epoch=best_epoch,
            epochs=len(self.reports),
            seconds=end.get("seconds"),
            train_seconds=end["train_seconds"] if end.get("train_seconds") is not None else trained,
            start_seconds=end.get("start_seconds"),
            resolved=self.started.get("resolved") or {},
            reports=tuple(self.reports.values()),
        )


def read_search(directory: Path) -> SearchRecord:
    """The record of the search whose journal is in `directory`."""
    log = SearchLog(directory)
    for event in read_journal(directory):
        log.feed(event)
    state = read_state(directory)
    told = state.offset >= (directory / FILE_NAME).stat().st_size
    return dataclasses.replace(
        log.record(experiment_id=state.experiment_id, runs=state.runs), view=state.view, told=told
    )


def find_search(storage: Path, reference: str | None = None) -> Path:
    """The folder of a search.

    Args:
        storage: folder of all searches (`tracking.storage`).
        reference: its id, the beginning of only one id, or its folder. None: the one started last.

    Raises:
        ConfigError: there is none, or several; lists what exists.
    """
    if reference is not None and (Path(reference) / FILE_NAME).is_file():
        return Path(reference)
    found = {
        path.parent.name: path.parent
        for path in sorted(storage.glob(f"*/{FILE_NAME}"))
        if path.stat().st_size
    }
    if not found:
        raise ConfigError(
            f"There is no search in {storage}.",
            "Start one with `equipoise search experiment.yaml`, or name the folder with --storage.",
        )
    if reference is None:
        return max(found.values(), key=_start_time)
    if reference in found:
        return found[reference]
    matching = [name for name in found if name.startswith(reference)]
    if len(matching) == 1:
        return found[matching[0]]
    names = matching or sorted(found, key=lambda name: _start_time(found[name]), reverse=True)
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    problem = (
        f"Several searches begin with {reference!r}"
        if matching
        else f"There is no search {reference!r} in {storage}"
    )
    raise ConfigError(f"{problem}.", f"There are: {listed}.")


def results_of(report: Mapping[str, Any]) -> dict[str, float]:
    """What trials are compared by, of an epoch's report: its metrics, and what the model costs."""
    return {**report["metrics"], **report.get("costs", {})}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted keys; lists stay values."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def objectives_of(started: Event) -> tuple[str, ...]:
    """The objectives of the `search_started` event; where it names none, every task's own metric."""
    spec = started.get("spec") or {}
    chosen = started.get("objectives") or (spec.get("search") or {}).get("objectives")
    if chosen:
        return tuple(chosen)
    return tuple(f"{task}.{config['metric']}" for task, config in (spec.get("tasks") or {}).items())


def _start_time(directory: Path) -> float:
    first = next(read_journal(directory), None)
    return float(first["time"]) if first else 0.0
