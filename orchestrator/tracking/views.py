"""Saved views: each experiment opens on the answer instead of on one collapsed row.

A view is one tag of the experiment. Every search brings its own three, so that a link to an old search still shows
that search; only the latest searches keep theirs, because the page lets nobody save a view of their own beyond 40.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from orchestrator.report.records import SearchRecord
from orchestrator.tracking.view_state import Shown, State, curves, mistakes, trade_offs

PREFIX = "mlflow.sharedViewState."
OURS = f"{PREFIX}equipoise-"
TRADE_OFFS = "trade-offs"
VIEWS = {
    TRADE_OFFS: ("Trade-offs", trade_offs),
    "curves": ("Curves", curves),
    "mistakes": ("Mistakes", mistakes),
}
MOST_VIEWS = 24
"""Tags of ours that an experiment keeps: those of eight searches."""
LARGEST_TAG = 20_000
"""Characters that MLflow allows in an experiment's tag."""
TESTED = ((3, 17), (3, 18))
"""Versions of MLflow whose page reads this layout: from, up to but not with."""


def view_id(uid: str, view: str = TRADE_OFFS) -> str:
    """The id of a search's view, as links name it."""
    return f"equipoise-{uid}-{view}"


def understands_views(version: str | None) -> bool:
    """Whether the page of this version of MLflow ("3.17.2") was tested with our views."""
    try:
        major, minor, *_ = (version or "").split(".")
        return TESTED[0] <= (int(major), int(minor)) < TESTED[1]
    except ValueError:
        return False


def view_tags(shown: Shown, search_id: str, time: int) -> dict[str, str]:
    """The experiment tags that hold a search's views; `time` in milliseconds. Views that are too large are left out."""
    tags = {}
    for position, (view, (title, state)) in enumerate(VIEWS.items()):
        envelope = {
            "name": f"{title} {search_id}",
            "createdAt": time,
            "updatedAt": time - position,  # the menu shows the latest first
            "state": _compressed(state(shown)),
        }
        text = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False)
        if len(text) <= LARGEST_TAG:
            tags[f"{PREFIX}{view_id(shown.uid, view)}"] = text
    return tags


def outdated(tags: Mapping[str, str]) -> list[str]:
    """Of an experiment's tags, those of our views that are to go."""
    ours = sorted(
        (key for key in tags if key.startswith(OURS)), key=lambda key: created(tags[key]), reverse=True
    )
    return ours[MOST_VIEWS:]


def latest_trade_offs(tags: Mapping[str, str]) -> str | None:
    """Of an experiment's tags, the id of the latest search's view of trade-offs."""
    ours = [key for key in tags if key.startswith(OURS) and key.endswith(TRADE_OFFS)]
    return max(ours, key=lambda key: created(tags[key])).removeprefix(PREFIX) if ours else None


def created(envelope: str) -> float:
    """When a view was made, in milliseconds; 0 where that cannot be read."""
    try:
        return float(json.loads(envelope)["createdAt"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def shown_of(
    record: SearchRecord, uid: str, params: Mapping[str, Mapping[str, str]], searched: list[str]
) -> Shown:
    """What the views show of a search. `params`: MLflow params by trial."""
    compared = [params[trial.trial] for trial in record.candidates if trial.trial in params] or list(
        params.values()
    )
    tasks: Mapping[str, Any] = record.spec.get("tasks") or {}
    return Shown(
        uid=uid,
        tasks={task: config["metric"] for task, config in tasks.items()},
        objectives=record.objectives,
        axes=[key for key in searched if _is_axis([own.get(key, "none") for own in compared])],
        searched=[key for key in searched if any(key in own for own in params.values())],
        over=bool(record.front) and record.status != "running",
        images=["mistakes/worst", *(f"mistakes/{task}" for task in tasks)],
    )


def _is_axis(values: list[str]) -> bool:
    """Parallel coordinates drop every run that lacks a value, and there is nothing to see where all are equal."""
    return "none" not in values and (len(set(values)) > 1 or len(values) == 1)


def _compressed(state: State) -> str:
    packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)
    return f"deflate;{base64.b64encode(packed).decode('ascii')}"
