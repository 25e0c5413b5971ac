"""Workers that share a machine keep to cores of their own, which together are all that there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.slots.cores import part_of
from orchestrator.slots.train_workers import TrainWorkersSlot
from tests.orchestrator.slots.census import pids
from tests.orchestrator.slots.trials import assignment, run, write_data

CORES = len(os.sched_getaffinity(0))
KEEP = """
import json, os, sys, threading
from orchestrator.slots.cores import keep_to_own_cores
go, threads = threading.Event(), []
threads.append(threading.Thread(target=go.wait))
threads[0].start()
keep_to_own_cores(*map(int, sys.argv[1:]))
print(json.dumps([sorted(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task")]))
go.set()
"""


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [5, 8, 64])
def test_parts_are_disjoint_equal_and_all(count: int, ranks: int) -> None:
    cores = [7 * core % 67 for core in range(count)]
    parts = [part_of(cores, rank, ranks) for rank in range(ranks)]
    assert [core for part in parts for core in part] == cores
    assert {len(part) for part in parts} <= {count // ranks, count // ranks + 1}


@pytest.mark.skipif(CORES < 2, reason="one core cannot be shared out")
@pytest.mark.parametrize(
    ("rank", "ranks", "cpus", "kept"),
    [
        (0, 1, 1, CORES),
        (0, CORES, 1, 1),
        (CORES - 1, CORES, 1, 1),
        (0, CORES, 2, CORES),
        (0, CORES + 1, 1, CORES),
    ],
    ids=["alone", "first", "last", "too wide", "too many"],
)
def test_all_threads_keep_to_a_part_that_is_large_enough(rank: int, ranks: int, cpus: int, kept: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEEP, str(rank), str(ranks), str(cpus)],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = json.loads(done.stdout)
    assert first == second
    assert len(first) == kept


@pytest.mark.skipif(CORES < 2, reason="one core cannot be shared out")
def test_two_workers_of_a_trial_share_no_core(ray_cluster: None, tmp_path: Path) -> None:
    slot = TrainWorkersSlot(workers=2, cpus=1)
    try:
        run(slot, assignment(write_data(tmp_path / "data"), tmp_path / "t000"), 1)
        one, other = (set(psutil.Process(pid).cpu_affinity()) for pid in pids("RayTrainWorker"))
    finally:
        slot.close()
    assert not one & other
    assert one | other == os.sched_getaffinity(0)
