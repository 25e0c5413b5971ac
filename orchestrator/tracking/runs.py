"""From journal events to what each MLflow run should be told, without MLflow.

Timestamps come from the journal, so telling a run the same thing twice changes nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.report.search_log import SearchLog, flat
from orchestrator.runs.journal import Event
from orchestrator.tracking import scheme
from orchestrator.tracking.note import first_note
from orchestrator.tracking.origin import datasets_of, fingerprint, origin_tags, settled, yaml_text

SEARCH = ""
"""Stands for the search's own run where the others are known by their trial."""
LEASE = f"{scheme.TAG}lease"
"""Tag of the search's own run (or the training's only one): until when, in seconds since 1970, it counts as alive."""


@dataclass(frozen=True)
class Metric:
    """One value; `timestamp` in milliseconds."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass
class RunUpdate:
    """What one run has yet to be told. Everything may be told again."""

    trial: str
    """Trial id, or SEARCH."""
    name: str
    started: int
    """Milliseconds since 1970."""
    identity: dict[str, str]
    """Tags the run is created with, and by which it is found again."""
    nested: bool
    """Whether it belongs under the search's own run."""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """Text artifacts by path."""
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Context (training, validation, test) to `name`, `digest`, `source` and `profile`."""
    status: str | None = None
    """MLflow's run status, if it changes."""
    ended: int | None = None


class SearchRuns:
    """Folds the events of one journal; `take` hands out what is new for MLflow since the last `take`."""

    def __init__(self, directory: Path) -> None:
        self._log = SearchLog(directory)
        self._pending: dict[str, RunUpdate] = {}
        self._begun: dict[str, Event] = {}
        self._last_epoch: dict[str, int] = {}
        self._open: set[str] = set()
        self.params: dict[str, dict[str, str]] = {}
        """MLflow's params by trial."""
        self.ended: dict[str, TrialRecord] = {}
        """Trials that have ended, in that order."""
        self._on_front: set[str] = set()
        """Trials that were told to be in the Pareto set, at an earlier end of the search."""
        self.restarted: set[str] = set()
        """Trials that were taken up again; whoever takes note of it empties this."""

    @property
    def started(self) -> bool:
        """Whether the search has started; before, there is nothing to tell."""
        return bool(self._log.started)

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return str(self._log.started["name"])

    @property
    def tracking_uri(self) -> str:
        """Where the search is tracked."""
        return str(self._log.started["tracking_uri"])

    @property
    def over(self) -> bool:
        """Whether the last event so far ended the search."""
        return self._log.ended is not None

    @property
    def uid(self) -> str:
        """Tells this search from all others, also from those of the same name in another folder."""
        start = self._log.started
        return uid_of(start)

    @property
    def searched(self) -> list[str]:
        """Dotted keys that may vary within the search."""
        return list(self._log.started.get("searched") or ())

    @property
    def began(self) -> int:
        """When the search was started: milliseconds since 1970."""
        return round(self._log.began * 1000)

    @property
    def single(self) -> bool:
        """Whether it is one training, and its trial's run the only one."""
        return self._log.started.get("kind") == "train"

    def model_name(self, trial: str) -> str:
        """What the model of a trial is called, among those of all searches of the experiment."""
        search = str(self._log.started["search_id"])
        return search if self.single else f"{search}-{trial}"

    def record(self, experiment_id: str | None, runs: Mapping[str, str]) -> SearchRecord:
        """Everything so far; `runs` are MLflow's run ids."""
        return self._log.record(experiment_id=experiment_id, runs=runs)

    def feed(self, event: Event) -> None:
        """Take in the next event."""
        self._log.feed(event)
        match event["event"]:
            case "search_started" | "search_resumed":
                self._search_started(event)
            case "trial_started" | "trial_restarted":
                self._trial_started(event)
            case "epoch":
                self._epoch(event)
            case "short_of_memory":
                self._update(event["trial"]).tags[f"{scheme.TAG}short_of_memory"] = event["reason"]
            case "trial_ended":
                self._trial_ended(event)
            case "search_ended":
                self._search_ended(event)

    def renew_lease(self, until: float) -> bool:
        """Say that the search is alive until then (seconds since 1970); False if it has no run to say it of."""
        roots = [trial for trial in self._begun if self.single or trial == SEARCH]
        if not roots or self.over:
            return False
        self._update(roots[0]).tags[LEASE] = f"{until:.0f}"
        return True

    def abandon(self) -> None:
        """Close whatever is open, because the process of the search died without ending it."""
        time = round(self._log.last_time * 1000)
        for trial in sorted(self._open):
            self._end_trial(trial, "interrupted", "the process of the search died", time)
        if not self.single:
            update = self._update(SEARCH)
            update.tags |= {
                f"{scheme.TAG}status": "interrupted",
                f"{scheme.TAG}reason": "the process of the search died",
            }
            update.status, update.ended = scheme.STATUS["interrupted"], time

    def take(self) -> list[RunUpdate]:
        """Pending updates, the search's own run first."""
        updates = sorted(self._pending.values(), key=lambda update: update.nested)
        self._pending = {}
        return updates

    @property
    def has_news(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._pending)

    def _update(self, trial: str) -> RunUpdate:
        if trial not in self._pending:
            begun, start = self._begun[trial], self._log.started
            identity = {f"{scheme.TAG}uid": self.uid, f"{scheme.TAG}search_id": start["search_id"]}
            if trial == SEARCH:
                name, kind = start["search_id"], "search"
            else:
                config = flat(begun.get("config") or {})
                name, kind = scheme.run_name(trial, config), "trial"
                identity[f"{scheme.TAG}trial"] = trial
            if self.single:
                name, kind = start["search_id"], "train"
            identity[f"{scheme.TAG}kind"] = kind
            nested = trial != SEARCH and not self.single
            self._pending[trial] = RunUpdate(trial, name, _milliseconds(begun), identity, nested)
        return self._pending[trial]

    def _search_started(self, event: Event) -> None:
        if self.single:
            return
        resumed = SEARCH in self._begun
        self._begun.setdefault(SEARCH, event)
        update = self._update(SEARCH)
        update.tags[f"{scheme.TAG}status"] = "running"
        if resumed:
            update.status = "RUNNING"
            return
        update.tags |= origin_tags(event) | scheme.search_tags()
        update.tags["mlflow.note.content"] = first_note(self._log.record())
        update.files["config/experiment.yaml"] = event.get("spec_text") or yaml_text(event.get("spec") or {})
        update.datasets = datasets_of(event)

    def _trial_started(self, event: Event) -> None:
        trial, start = event["trial"], self._log.started
        self._open.add(trial)
        resumed = trial in self._begun
        self._begun.setdefault(trial, event)
        update = self._update(trial)
        update.tags[f"{scheme.TAG}status"] = "running"
        if resumed:
            update.status = "RUNNING"
            self.ended.pop(trial, None)
            self.restarted.add(trial)
            return
        resolved, config = event.get("resolved") or {}, flat(event.get("config") or {})
        update.params = scheme.params_of_trial(resolved, self.searched, settled(start))
        self.params[trial] = update.params
        update.tags |= origin_tags(start)
        update.tags |= {
            f"{scheme.TAG}searched": json.dumps(config, separators=(",", ":")),
            f"{scheme.TAG}config_hash": fingerprint(resolved),
        }
        if folder := start.get("directory"):
            update.tags[scheme.FOLDER] = str(Path(folder) / "trials" / trial)
        if self.single:
            update.files["config/experiment.yaml"] = start.get("spec_text") or yaml_text(
                start.get("spec") or {}
            )
        else:
            update.tags |= scheme.place_tags(pareto=False)
        update.files["config/resolved.yaml"] = yaml_text(resolved)
        update.datasets = {name: facts for name, facts in datasets_of(start).items() if name != "test"}

    def _epoch(self, event: Event) -> None:
        trial, report = event["trial"], event["report"]
        if report["epoch"] <= self._last_epoch.get(trial, 0):
            return  # done again after a resume: it has been told
        time = _milliseconds(event)
        if trial not in self._last_epoch:
            costs = scheme.metrics_of_costs(report.get("costs", {}))
            self._update(trial).metrics += [Metric(key, value, time, 0) for key, value in costs.items()]
        self._last_epoch[trial] = report["epoch"]
        self._update(trial).metrics += [
            Metric(key, value, time, report["epoch"])
            for key, value in scheme.metrics_of_epoch(report).items()
        ]

    def _trial_ended(self, event: Event) -> None:
        self._end_trial(event["trial"], event["status"], event.get("reason") or "", _milliseconds(event))

    def _end_trial(self, trial: str, status: str, reason: str, time: int) -> None:
        self._open.discard(trial)
        record, update = self._log.trial(trial), self._update(trial)
        self.ended[trial] = record
        if status != "interrupted":  # it may go on to a better epoch, and MLflow forgets no metric
            best = scheme.metrics_of_best(record.metrics, record.best_epoch)
            update.metrics += [Metric(key, value, time, 0) for key, value in best.items()]
        update.tags |= {f"{scheme.TAG}status": status, f"{scheme.TAG}reason": reason or "none"}
        if record.degraded:
            update.tags[f"{scheme.TAG}degraded"] = f"{record.degraded} steps with equal weights"
        update.status, update.ended = scheme.STATUS[status], time

    def _search_ended(self, event: Event) -> None:
        time = _milliseconds(event)
        for trial in sorted(self._open):
            self._end_trial(trial, "interrupted", "the search ended first", time)
        if self.single:
            return
        record = self._log.record()
        front = {trial.trial for trial in record.front}
        for trial in sorted(front | self._on_front):
            self._update(trial).tags |= scheme.place_tags(pareto=trial in front)
        self._on_front = front
        update = self._update(SEARCH)
        update.tags |= {
            f"{scheme.TAG}status": event["status"],
            f"{scheme.TAG}reason": scheme.REASONS.get(event["status"], "none"),
        }
        if event.get("hypervolume") is not None and event["status"] == "completed":
            update.metrics.append(Metric("best/hypervolume", event["hypervolume"], time, 0))
        update.status, update.ended = scheme.STATUS.get(event["status"], "FINISHED"), time


def uid_of(started: Event) -> str:
    """Of the search that began with this event."""
    return hashlib.sha256(f"{started['search_id']} {started['time']!r}".encode()).hexdigest()[:16]


def _milliseconds(event: Event) -> int:
    time: float = event["time"]
    return round(time * 1000)
