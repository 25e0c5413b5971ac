"""A run on a cluster that others use says that it waits, and begins when there is room."""

from pathlib import Path

import pytest

from orchestrator.runs.journal import read_journal
from tests.cluster.test_lost_machines import EXPERIMENT, cluster_of, reach
from tests.end_to_end.commands import beside
from tests.end_to_end.driver import Driver, driver
from tests.end_to_end.recorded import endings

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

OTHERS = """
import ray
ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
group = ray.util.placement_group([{"CPU": ray.cluster_resources()["CPU"]}])
ray.get(group.ready())
print("full", flush=True)
input()
"""


def happened(going: Driver, event: str) -> bool:
    journal = going.run / "journal.jsonl"
    return journal.exists() and any(entry["event"] == event for entry in read_journal(going.run))


@pytest.mark.parametrize(("command", "workers"), [("search", 1), ("train", 2)])
def test_it_says_that_it_waits_and_begins_when_there_is_room(
    command: str, workers: int, tmp_path: Path
) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    options = ["-s", f"compute.workers={workers}", "-s", "training.epochs=1"]
    options += ["-n", "1"] if command == "search" else []
    name = "pairs-001" if command == "search" else "pairs-train-001"
    with (
        cluster_of(num_cpus=2) as cluster,
        beside(OTHERS, "full", reach(cluster)) as others,
        driver(tmp_path, name, command, "experiment.yaml", *options, extra=reach(cluster)) as going,
    ):
        assert going.wait_for(lambda driver: happened(driver, "waiting_for_room"))
        assert not happened(going, "epoch")
        others.communicate("\n", timeout=60)
        assert going.finish(seconds=120) == 0
    assert endings(going.run) == {"t000": ("completed", "")}
    told = [entry for entry in read_journal(going.run) if entry["event"] == "waiting_for_room"]
    assert [(entry["trials"], entry["room"], entry["workers"]) for entry in told] == [(1, 0, workers)]
    printed = (tmp_path / "printed.txt").read_text()
    assert printed.count("the run waits for machines: there is room for no trial at present") == 1
