"""A machine is lost while a trial runs on it: the search goes on, and finds what it would have found."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from ray.cluster_utils import Cluster

from orchestrator.runs.journal import read_journal
from tests.cluster.test_nodes import ROOT
from tests.end_to_end.driver import Driver, driver, half_written
from tests.end_to_end.recorded import curves, endings, in_mlflow, proposals

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(600)]

Moment = Literal["epoch", "checkpoint"]
Victim = Literal["raylet", "machine"]
EPOCHS, TRIALS = 20, 3
EXPERIMENT = f"""
name: pairs
seed: 3
data: {{source: "builtin:digits-pair"}}
tasks: {{left: {{type: multiclass, label: left}}, right: {{type: multiclass, label: right}}}}
model: {{backbone: {{name: small_cnn, width: 24}}, heads: {{default: {{kind: mlp, hidden: [512, 512]}}}}}}
training: {{epochs: {EPOCHS}, optimizer: {{name: adam, lr: 3e-3}}, precision: fp32}}
search: {{trials: {TRIALS}, sampler: random, space: {{training.optimizer.lr: {{log: [1e-3, 1e-2]}}}}}}
"""
OPTIONS = {1: [], 2: ["-n", "1", "-s", "compute.workers=2", "-s", "training.epochs=30"]}
"""Of the command, by workers of each trial."""
TRAINING = ("ray::TrialTrainable", "ray::RayTrainWorker")
"""How the titles of processes begin that train."""


@pytest.fixture(scope="module", params=[1, 2], ids=["one-worker", "two-workers"])
def workers(request: pytest.FixtureRequest) -> int:
    """Of each trial."""
    return int(request.param)


@pytest.fixture(scope="module")
def undisturbed(workers: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the search was left in peace."""
    folder = tmp_path_factory.mktemp("peace")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    with driver(folder, "pairs-001", "search", "experiment.yaml", *OPTIONS[workers]) as going:
        assert going.finish(seconds=300) == 0
    return folder


@contextlib.contextmanager
def cluster_of(**head: Any) -> Iterator[Cluster]:
    """A head, for nodes to join."""
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **head})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def reach(cluster: Cluster) -> dict[str, str]:
    """The environment of who goes there."""
    token = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    return {**token, "RAY_ADDRESS": str(cluster.address), "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def search_on(cluster: Cluster, folder: Path, *options: str, **variables: str) -> Iterator[Driver]:
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    extra = reach(cluster) | variables
    with driver(folder, "pairs-001", "search", "experiment.yaml", *options, extra=extra) as going:
        yield going


def of_node(node: Any) -> list[psutil.Process]:
    """All processes of a node of the cluster, its raylet first."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [raylet, *raylet.children(recursive=True)]


def training(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if (process.cmdline() or [""])[0].startswith(TRAINING):
                found.append(process)
    return found


def epochs_of(directory: Path) -> dict[str, int]:
    """How far the trials have come that have begun and not ended."""
    reached: dict[str, int] = {}
    if not (directory / "journal.jsonl").exists():
        return reached
    for event in read_journal(directory):
        if event["event"] == "epoch":
            reached[event["trial"]] = event["report"]["epoch"]
        elif event["event"] == "trial_ended":
            reached.pop(event["trial"], None)
    return reached


def writes(process: psutil.Process) -> bool:
    """Whether it is in the middle of a checkpoint."""
    with contextlib.suppress(psutil.Error):
        return any("/.last." in file.path for file in process.open_files())
    return False


def lose(node: Any, writers: list[Any], going: Driver, moment: Moment, victim: Victim) -> None:
    """Kill the node's raylet, or all that runs on it, at a moment that is held until it has happened.

    `writers`: the nodes of which one writes the checkpoint that is meant, if one is.
    """
    while True:
        assert going.wait_for(lambda driver: bool(half_written(driver.run)) == (moment == "checkpoint"))
        here = of_node(node)
        with held(training(here + [process for other in writers for process in of_node(other)])):
            writing = any(writes(process) for other in writers for process in training(of_node(other)))
            if writing != (moment == "checkpoint"):
                continue
            assert training(here), "nothing trains there"
            assert any(0 < epoch < 12 for epoch in epochs_of(going.run).values())
            for process in here if victim == "machine" else here[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            node.all_processes["raylet"][0].process.wait()  # workers of a zombie do not notice
            return


@contextlib.contextmanager
def held(processes: list[psutil.Process]) -> Iterator[None]:
    """Nothing moves, for as long as it takes to look around."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def have_come(epoch: int, trials: int) -> Callable[[Driver], bool]:
    """So many trials have come so far and go on."""
    return lambda driver: sum(reached >= epoch for reached in epochs_of(driver.run).values()) >= trials


def joined(cluster: Cluster, going: Driver, cpus: int) -> Any:
    """A node that has joined, and trains a second trial while the first is still at its beginning."""
    assert going.wait_for(have_come(1, trials=1))
    with held(training(of_node(cluster.head_node))):
        node = cluster.add_node(num_cpus=cpus)
        assert going.wait_for(lambda driver: epochs_of(driver.run).get("t001", 0) >= 2)
    return node


def assert_nothing_happened(folder: Path, undisturbed: Path) -> None:
    one, other = (place / "equipoise_runs" / "pairs-001" for place in (folder, undisturbed))
    assert proposals(one) == proposals(other)
    assert curves(one) == curves(other)
    assert endings(one) == endings(other)
    found, expected = in_mlflow(folder / "mlflow.db"), in_mlflow(undisturbed / "mlflow.db")
    assert found.keys() == expected.keys()
    for run_name, content in expected.items():
        different = {
            key
            for key in content.keys() | found[run_name].keys()
            if content.get(key) != found[run_name].get(key)
        }
        assert different <= {"param compute.slots"}, run_name


def waits(going: Driver) -> list[dict[str, Any]]:
    return [event for event in read_journal(going.run) if event["event"] == "waiting_for_room"]


def side_by_side(directory: Path, since: float) -> bool:
    """Whether trials have taken turns with their epochs since then, as in more slots than one."""
    order: list[str] = []
    for event in read_journal(directory):
        if event["event"] == "epoch" and event["time"] > since and order[-1:] != [event["trial"]]:
            order.append(event["trial"])
    return len(order) > len(set(order))


def assert_come_first(lost: list[str], events: Sequence[dict[str, Any]]) -> None:
    """No trial begins before those of the lost machine have ended, but for the two that had begun."""
    ended = {event["trial"]: number for number, event in enumerate(events) if event["event"] == "trial_ended"}
    begun = [number for number, event in enumerate(events) if event["event"] == "trial_started"]
    assert min(begun[2:]) > max(ended[trial] for trial in lost)


@pytest.mark.parametrize(
    ("moment", "victim"), [("epoch", "raylet"), ("checkpoint", "raylet"), ("checkpoint", "machine")]
)
@pytest.mark.parametrize("workers", [1], indirect=True)
def test_a_trial_of_a_lost_machine_goes_on_in_the_slot_that_is_left(
    moment: Moment, victim: Victim, undisturbed: Path, tmp_path: Path
) -> None:
    with cluster_of(num_cpus=1) as cluster, search_on(cluster, tmp_path) as going:
        node = joined(cluster, going, 1)
        lose(node, [node], going, moment, victim)
        struck = time.time()
        assert going.finish(seconds=300) == 0
    events = list(read_journal(going.run))
    assert "raylet" not in (tmp_path / "printed.txt").read_text()
    restarted = [event for event in events if event["event"] == "trial_restarted"]
    assert [event["cause"] for event in restarted] == ["loss of the machine"]
    assert not side_by_side(going.run, struck + 1.0)
    if victim == "raylet":  # a silent machine is missed after ten seconds, in which a slot may become free
        assert_come_first([event["trial"] for event in restarted], events)
    assert_nothing_happened(tmp_path, undisturbed)


@pytest.mark.parametrize("slot", ["elsewhere", "there"])
@pytest.mark.parametrize("moment", ["epoch", "checkpoint"])
@pytest.mark.parametrize("workers", [2], indirect=True)
def test_a_trial_that_loses_the_machine_of_one_of_its_workers_goes_on_when_there_is_another(
    moment: Moment, slot: str, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`slot`: where the process is that commands the workers.

    All wait for a machine for longer than Ray Train's limit, one until that has been told.
    """
    for_long = (slot, moment) == ("elsewhere", "epoch")
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "0.1")
    head = {"num_cpus": 1} | ({"memory": 0} if slot == "there" else {})
    may_come = '[{"count": 2, "cpus": 1}]'  # as if there were an autoscaler
    with (
        cluster_of(**head) as cluster,
        search_on(cluster, tmp_path, *OPTIONS[2], EQUIPOISE_MAY_COME=may_come) as going,
    ):
        assert going.wait_for(lambda driver: (driver.run / "journal.jsonl").exists())
        node = cluster.add_node(num_cpus=1)
        assert going.wait_for(have_come(2, trials=1))
        assert any("Trial" in process.cmdline()[0] for process in training(of_node(node))) == (
            slot == "there"
        )
        lose(node, [node, cluster.head_node], going, moment, "raylet")
        before = len(waits(going))
        if for_long:
            assert going.wait_for(lambda driver: len(waits(driver)) > before)
        cluster.add_node(num_cpus=1)
        assert going.finish(seconds=300) == 0
    restarts = [event for event in read_journal(going.run) if event["event"] == "trial_restarted"]
    assert len(restarts) == (slot == "there")
    printed = (tmp_path / "printed.txt").read_text()
    told = printed.count("the run waits for machines: there is room for no trial at present")
    assert told == len(waits(going))
    assert_nothing_happened(tmp_path, undisturbed)


def test_with_fewer_slots_a_trial_of_several_workers_gets_the_next_one_that_is_free(tmp_path: Path) -> None:
    """Not a new trial, and not the slot that has just become idle, which would keep its cores for one."""
    options = ["-n", "4", "-s", "search.sampler=tpe", "-s", "compute.workers=2", "-s", "training.epochs=24"]
    with cluster_of(num_cpus=2) as cluster, search_on(cluster, tmp_path, *options) as going:
        node = joined(cluster, going, 2)
        cluster.remove_node(node)  # with notice, so that Ray knows at once
        assert going.wait_for(lambda driver: len(begun(driver)) > 2, seconds=200)
    told = [(wait["room"], wait["trials"]) for wait in waits(going)]
    assert told in ([], [(1, 2)]), "nothing if the other trial ends at once"
    events = list(read_journal(going.run))
    assert_come_first(["t000", "t001"], events)


def begun(going: Driver) -> list[str]:
    return [event["trial"] for event in read_journal(going.run) if event["event"] == "trial_started"]
