"""From the events of a journal to records."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.report import pareto
from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.runs.journal import Event, read_journal
from orchestrator.tracking.state import read_state, untold


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
    record = log.record(experiment_id=state.experiment_id, runs=state.runs)
    return dataclasses.replace(record, view=state.view, told=not untold(directory, state))


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
