"""Nodes that join a search and are not as the others are left out, with a word, and no trial fails for them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from orchestrator.runs.journal import read_journal
from tests.cluster.test_lost_machines import (
    EPOCHS,
    TRIALS,
    cluster_of,
    have_come,
    of_node,
    search_on,
    training,
)
from tests.cluster.test_nodes import ROOT
from tests.end_to_end.commands import kill_family
from tests.end_to_end.driver import Driver
from tests.end_to_end.recorded import curves, endings
from tests.programs import require

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


def add_unfit(cluster: Cluster, folder: Path) -> Any:
    """A node with a core and another torchvision."""
    installed = folder / "another" / "torchvision-0.1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1.0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{installed.parent}{os.pathsep}{ROOT}")
        return cluster.add_node(num_cpus=1)


def left_out(going: Driver) -> list[dict[str, Any]]:
    if not (going.run / "journal.jsonl").exists():
        return []
    return [event for event in read_journal(going.run) if event["event"] == "node_left_out"]


def assert_all_completed(going: Driver, folder: Path, *, epochs: int = TRIALS * EPOCHS) -> str:
    """The search ends well, with so many epochs in all; what it printed."""
    assert going.finish(seconds=200) == 0
    assert set(endings(going.run).values()) == {("completed", "")}
    assert len(curves(going.run)) == epochs
    return (folder / "printed.txt").read_text()


def test_slots_grow_onto_a_node_that_is_alike_and_not_onto_another(tmp_path: Path) -> None:
    with cluster_of(num_cpus=1) as cluster, search_on(cluster, tmp_path) as going:
        assert going.wait_for(have_come(1, trials=1))
        unfit = add_unfit(cluster, tmp_path)
        assert going.wait_for(lambda driver: bool(left_out(driver)))
        cluster.add_node(num_cpus=1)
        assert going.wait_for(have_come(1, trials=2))
        assert training(of_node(unfit)) == []
        printed = assert_all_completed(going, tmp_path)
        (event,) = left_out(going)
    assert "has torchvision 0.1.0 (here " in event["reason"]
    assert f"a node that has joined is left out: {event['reason']}. Install the same everywhere" in printed


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trial_that_waits_for_a_node_does_not_run_on_an_unfit_one(workers: int, tmp_path: Path) -> None:
    """Ray places what waits before anybody can look at the node."""
    may_come = json.dumps([{"count": 2, "cpus": 1}])
    options = [
        "-s",
        f"compute.workers={workers}",
        "-s",
        "compute.slots=1",
        "-n",
        "1",
        "-s",
        "training.epochs=5",
    ]
    with (
        cluster_of(num_cpus=workers - 1) as cluster,
        search_on(cluster, tmp_path, *options, EQUIPOISE_MAY_COME=may_come) as going,
    ):
        assert going.wait_for(lambda driver: (driver.run / "journal.jsonl").exists())
        unfit = add_unfit(cluster, tmp_path)
        assert going.wait_for(lambda driver: bool(left_out(driver)))
        came = time.time()
        cluster.add_node(num_cpus=1)
        assert going.wait_for(have_come(1, trials=1))
        assert training(of_node(unfit)) == []
        assert_all_completed(going, tmp_path, epochs=5)
    assert all(event["time"] > came for event in read_journal(going.run) if event["event"] == "epoch")


@contextmanager
def blind_node(cluster: Cluster, folder: Path) -> Iterator[None]:
    """A node with a core that sees an empty folder where the others see `folder`."""
    require("unshare", "mount")
    if os.geteuid() != 0:
        pytest.skip("only root may mount something else")
    ray = f"{sys.executable} -m ray.scripts.scripts start --address={cluster.address} --num-cpus=1 --block"
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {folder} && exec {ray}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        kill_family(process)


def test_a_node_that_does_not_see_the_checkpoints_is_left_out(tmp_path: Path) -> None:
    storage = tmp_path / "equipoise_runs"
    with cluster_of(num_cpus=1) as cluster, search_on(cluster, tmp_path) as going:
        assert going.wait_for(have_come(1, trials=1))
        with blind_node(cluster, storage):
            assert going.wait_for(lambda driver: bool(left_out(driver)))
            assert_all_completed(going, tmp_path)
        (event,) = left_out(going)
    assert event["reason"].startswith(f"tracking.storage: {storage} is not seen on node ")
    assert "EQUIPOISE_STORAGE" in event["hint"]
    assert not list(storage.glob(".seen-*"))
