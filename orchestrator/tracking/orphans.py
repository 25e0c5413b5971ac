"""Runs that MLflow believes to be running, though nobody conducts them any more."""

import time
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

from orchestrator.tracking.runs import LEASE, SEARCH
from orchestrator.tracking.scheme import STATUS, TAG

_PAGE = 1000


@dataclass(frozen=True)
class Orphan:
    """A run of ours that is to be closed."""

    run_id: str
    name: str
    experiment_id: str
    reason: str


def find_orphans(uri: str, alive: Collection[str]) -> list[Orphan]:
    """Runs of ours without a conductor, and all but the first of runs that are of the same trial.

    Args:
        uri: absolute tracking URI.
        alive: `uid`s of searches that are known to be conducted at present, on this machine.

    A search on another machine is alive while its lease, a tag of its own run, lasts.
    """
    client = MlflowClient(tracking_uri=uri)
    by_search: dict[str, list[Any]] = defaultdict(list)
    for run in _our_runs(client):
        by_search[run.data.tags[f"{TAG}uid"]].append(run)
    now = time.time()
    orphans: list[Orphan] = []
    for uid, runs in by_search.items():
        lease = max(float(run.data.tags.get(LEASE, 0)) for run in runs)
        seen: set[str] = set()
        for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id)):
            trial = run.data.tags.get(f"{TAG}trial", SEARCH)
            if trial in seen and run.data.tags.get(f"{TAG}duplicate") is None:
                orphans.append(_orphan(run, "another run is of the same trial"))
            elif run.info.status == "RUNNING" and uid not in alive and lease < now:
                orphans.append(_orphan(run, "the process of the search is gone"))
            seen.add(trial)
    return orphans


def close_orphan(uri: str, orphan: Orphan) -> None:
    """Give a run a status that ends it, and its reason."""
    client = MlflowClient(tracking_uri=uri)
    client.set_tag(orphan.run_id, f"{TAG}status", "interrupted")
    client.set_tag(orphan.run_id, f"{TAG}reason", orphan.reason)
    if orphan.reason.startswith("another"):
        client.set_tag(orphan.run_id, f"{TAG}duplicate", "true")
    client.set_terminated(orphan.run_id, status=STATUS["interrupted"])


def _our_runs(client: MlflowClient) -> list[Any]:
    runs: list[Any] = []
    for experiment in client.search_experiments():
        token: str | None = None
        while True:
            page = client.search_runs(
                [experiment.experiment_id],
                f"tags.`{TAG}uid` != ''",
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=_PAGE,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                break
    return runs


def _orphan(run: Any, reason: str) -> Orphan:
    return Orphan(run.info.run_id, run.info.run_name, run.info.experiment_id, reason)
