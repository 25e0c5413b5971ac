"""Nodes come and go while a search runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.end_to_end.commands import environment

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
EXPERIMENT = """
name: pairs
data: {source: "builtin:digits-pair"}
tasks: {left: {type: multiclass, label: left}, right: {type: multiclass, label: right}}
model: {backbone: {name: small_cnn, width: 16}}
training: {epochs: 12, optimizer: {name: adam, lr: 3e-3}, precision: fp32}
search: {trials: 5, sampler: random, space: {training.optimizer.lr: {log: [1e-3, 1e-2]}}}
"""

EPOCHS = 60
"""Of a trial, so that the search lasts longer than a node needs to join, on a fast machine too."""


def start_search(cluster: Cluster, folder: Path, *options: str, **variables: str) -> "subprocess.Popen[str]":
    token = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    there = {**token, "RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "search", "experiment.yaml", *options],
        cwd=folder,
        env=environment(there),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head with one core."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def events(folder: Path) -> list[dict[str, Any]]:
    journal = folder / "equipoise_runs" / "pairs-001" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_until(condition: Callable[[], bool], search: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        assert search.poll() is None, search.communicate()
        time.sleep(0.1)


def running(folder: Path) -> set[str]:
    """Trials that have had an epoch and not ended."""
    found = events(folder)
    begun = {event["trial"] for event in found if event["event"] == "epoch"}
    return begun - {event["trial"] for event in found if event["event"] == "trial_ended"}


def test_a_node_that_joins_adds_a_slot_and_one_that_dies_loses_no_trial(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    search = start_search(cluster, tmp_path, "-s", f"training.epochs={EPOCHS}")
    wait_until(lambda: len(running(tmp_path)) == 1, search)
    joined = cluster.add_node(num_cpus=1)
    wait_until(lambda: len(running(tmp_path)) == 2, search)
    cluster.remove_node(joined, allow_graceful=False)
    printed, complaint = search.communicate(timeout=150)
    assert search.returncode == 0, printed + complaint
    assert "5 completed" in printed
    epochs = {
        (event["trial"], event["report"]["epoch"]) for event in events(tmp_path) if event["event"] == "epoch"
    }
    assert len(epochs) == 5 * EPOCHS


def test_a_cluster_without_workers_is_asked_for_those_that_may_come(tmp_path: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
        refused = start_search(cluster, tmp_path, "-n", "1")
        assert "this machine has 0" in refused.communicate(timeout=100)[1]
        assert refused.returncode == 5

        may_come = json.dumps([{"count": 1, "cpus": 1}])
        search = start_search(
            cluster, tmp_path, "-n", "1", "-s", "training.epochs=1", EQUIPOISE_MAY_COME=may_come
        )
        wait_until(lambda: bool(events(tmp_path)), search)
        cluster.add_node(num_cpus=1)
        printed, complaint = search.communicate(timeout=100)
        assert "1 completed" in printed, complaint
    finally:
        cluster.shutdown()
