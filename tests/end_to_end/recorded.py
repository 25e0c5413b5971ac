"""All that is known of a run when it has ended."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.runs.journal import read_journal

OF_THE_CLOCK = {"overall/images_per_s", "best/latency_ms", "best/model.latency_ms"}
"""Metrics that are not the same when something is done again."""


def assert_the_same(
    folders: Sequence[Path], name: str, databases: tuple[str, str] = ("mlflow.db", "mlflow.db")
) -> None:
    """The run `name` is, in two folders, the same in its journals and in MLflow."""
    one, other = (folder / "equipoise_runs" / name for folder in folders)
    assert proposals(one) == proposals(other)
    assert curves(one) == curves(other)
    assert endings(one) == endings(other)
    found, expected = (
        in_mlflow(folder / database) for folder, database in zip(folders, databases, strict=True)
    )
    assert found.keys() == expected.keys()
    for run_name, content in expected.items():
        assert found[run_name] == content, run_name


def curves(directory: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Metrics by trial and epoch; an epoch that is recorded twice is an error."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for event in read_journal(directory):
        assert event["event"] != "epoch_differed", event
        if event["event"] == "epoch":
            key = (event["trial"], event["report"]["epoch"])
            assert key not in found, f"{key} is recorded twice"
            found[key] = event["report"]["metrics"]
    return found


def endings(directory: Path) -> dict[str, tuple[str, str]]:
    """Status and reason by trial; a trial that ends for good twice is an error."""
    found: dict[str, tuple[str, str]] = {}
    for event in read_journal(directory):
        if event["event"] == "trial_ended" and event["status"] != "interrupted":
            assert event["trial"] not in found, f"{event['trial']} ended twice"
            found[event["trial"]] = (event["status"], event["reason"])
    return found


def proposals(directory: Path) -> dict[str, Any]:
    """Searched values by trial; a trial that starts twice is an error."""
    found: dict[str, Any] = {}
    for event in read_journal(directory):
        if event["event"] == "trial_started":
            assert event["trial"] not in found, f"{event['trial']} started twice"
            found[event["trial"]] = event["config"]
    return found


def in_mlflow(database: Path) -> dict[str, Any]:
    """All that MLflow has of a folder's runs, by name, apart from ids and times."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ask = connection.execute
        names = dict(ask("select run_uuid, name from runs").fetchall())
        assert len(set(names.values())) == len(names), f"a run exists twice: {sorted(names.values())}"
        found: dict[str, Any] = {
            name: {"status": status}
            for name, status in ask("select name, status from runs where lifecycle_stage = 'active'")
        }
        for run, key, value in ask("select run_uuid, key, value from tags"):
            if key == "mlflow.parentRunId":
                found[names[run]]["parent"] = names[value]
            elif key in ("equipoise.status", "equipoise.reason", "equipoise.pareto", "equipoise.searched"):
                found[names[run]][key] = value
        for run, key, value in ask("select run_uuid, key, value from params"):
            found[names[run]][f"param {key}"] = value
        rows = ask(
            "select run_uuid, key, step, value, is_nan from metrics order by run_uuid, key, step, timestamp"
        )
        for run, key, *point in rows:
            if key not in OF_THE_CLOCK:
                found[names[run]].setdefault(f"metric {key}", []).append(tuple(point))
    return found


def lease(folder: Path) -> float:
    """Until when a folder's MLflow takes its run for alive, in seconds since 1970; 0 before it was told of it."""
    database = folder / "mlflow.db"
    if not database.exists():
        return 0.0
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        rows = connection.execute("select value from tags where key = 'equipoise.lease'").fetchall()
    return max((float(value) for (value,) in rows), default=0.0)
