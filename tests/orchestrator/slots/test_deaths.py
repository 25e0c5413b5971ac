"""Whatever dies, the trial can go on, and nothing stays behind."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch

from orchestrator.slots.base import Assignment, WorkerLost
from orchestrator.slots.in_process import InProcessSlot
from orchestrator.slots.reaper import SlotReaper
from orchestrator.slots.train_workers import TrainWorkersSlot
from orchestrator.slots.trial_run import TrialRun
from tests.end_to_end.commands import TO_LOOPBACK
from tests.orchestrator.slots.census import assert_all_given_back, pids
from tests.orchestrator.slots.owner import Owner
from tests.orchestrator.slots.trials import DiesWhileItStarts, assignment, failing_on, run, saved, write_data
from trainables.training.state import load_state

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.chaos]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("deaths") / "data")


@pytest.fixture(scope="module")
def shared() -> Iterator[TrainWorkersSlot]:
    slot = TrainWorkersSlot(workers=2, cpus=1)
    yield slot
    slot.close()
    assert_all_given_back(within=30)  # after deaths; how quickly, other tests say


@pytest.fixture
def good(data: Path, tmp_path: Path) -> Assignment:
    return assignment(data, tmp_path / "t000")


@pytest.fixture
def half(good: Assignment, shared: TrainWorkersSlot, tmp_path: Path) -> Path:
    """The good trial after two of its four epochs."""
    run(shared, good, 2)
    shared.save(tmp_path / "half")
    return tmp_path / "half"


def assert_goes_on(slot: TrainWorkersSlot, good: Assignment, half: Path) -> None:
    """From the checkpoint on, the trial ends as if nothing had happened."""
    undisturbed = InProcessSlot(cpus=1)
    run(undisturbed, good, 4)
    expected = saved(undisturbed, half.parent / "expected")
    run(slot, good, 2, checkpoint=half)
    found = saved(slot, half.parent / "found")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)


def in_the_middle_of_an_epoch(slot: TrainWorkersSlot, strike: Callable[[], None]) -> float:
    """Have `strike` happen while a rank waits for the other in a collective; seconds until it was noticed."""
    struck = 0.0

    def later() -> None:
        nonlocal struck
        time.sleep(0.5)
        struck = time.monotonic()
        strike()

    os.kill(pids("RayTrainWorker")[1], signal.SIGSTOP)  # so that the epoch cannot end before
    thread = threading.Thread(target=later)
    thread.start()
    with pytest.raises(WorkerLost):
        slot.run_epoch()
    thread.join()
    return time.monotonic() - struck


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_is_noticed_and_the_trial_goes_on(
    victim: int, shared: TrainWorkersSlot, good: Assignment, half: Path
) -> None:
    noticed = in_the_middle_of_an_epoch(
        shared, lambda: os.kill(pids("RayTrainWorker")[victim], signal.SIGKILL)
    )
    assert noticed < 15 if victim == 0 else noticed < 5
    assert_goes_on(shared, good, half)
    assert len(pids("RayTrainWorker")) == 2


def test_a_killed_controller_is_noticed_and_the_trial_goes_on(
    shared: TrainWorkersSlot, good: Assignment, half: Path
) -> None:
    noticed = in_the_middle_of_an_epoch(shared, lambda: os.kill(pids("TrainController")[0], signal.SIGKILL))
    assert noticed < 5
    assert_goes_on(shared, good, half)
    assert len(pids("RayTrainWorker")) == 2
    assert len(pids("TrainController")) == 1


def test_a_killed_mailbox_is_noticed_and_the_trial_goes_on(
    shared: TrainWorkersSlot, good: Assignment, half: Path
) -> None:
    noticed = in_the_middle_of_an_epoch(shared, lambda: os.kill(pids("Mailbox")[0], signal.SIGKILL))
    assert noticed < 10
    assert_goes_on(shared, good, half)
    assert len(pids("RayTrainWorker")) == 2


def test_a_trial_run_goes_on_by_itself(shared: TrainWorkersSlot, good: Assignment, tmp_path: Path) -> None:
    expected = run(shared, good, 4)
    trial = TrialRun(shared, good)
    reports = [trial.run_epoch()]
    shared.save(good.directory / "last")
    reports.append(trial.run_epoch())
    os.kill(pids("RayTrainWorker")[0], signal.SIGKILL)
    reports += [trial.run_epoch(), trial.run_epoch()]
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert [report.metrics for report in reports] == [report.metrics for report in expected]


def writes(pid: int) -> bool:
    """Whether a worker is in the middle of a state."""
    return any("/.last." in file.path for file in psutil.Process(pid).open_files())


def in_the_middle_of_a_checkpoint(trial: TrialRun, victim: str) -> None:
    """Kill `victim` while a state is half-written: its writer, the other worker, the controller or the mailbox."""
    struck = threading.Event()

    def strike() -> None:
        workers = pids("RayTrainWorker")
        while not struck.is_set():
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(0.01)  # a system call ends first
            writing = [pid for pid in workers if writes(pid)]
            if writing:
                others = [pid for pid in workers if pid not in writing]
                (killed,) = {"writer": writing, "other": others}.get(victim) or pids(victim)
                os.kill(killed, signal.SIGKILL)
                struck.set()
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            time.sleep(0.002)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    while not struck.is_set():  # a state that was too quick is written again
        trial.checkpoint_if_due()
    thread.join()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["writer", "other", "TrainController", "Mailbox"])
def test_a_death_in_the_middle_of_a_checkpoint_leaves_a_whole_state(
    victim: str, shared: TrainWorkersSlot, good: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(shared, good, 4)
    monkeypatch.setattr("orchestrator.slots.trial_run.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr("orchestrator.slots.trial_run.LARGEST_SHARE", math.inf)
    trial = TrialRun(shared, good)
    reports = [trial.run_epoch()]
    trial.checkpoint_if_due()
    reports.append(trial.run_epoch())
    in_the_middle_of_a_checkpoint(trial, victim)
    assert load_state(good.directory / "last").meta["epoch"] in (1, 2)
    reports += [trial.run_epoch(), trial.run_epoch()]
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert [report.metrics for report in reports] == [report.metrics for report in expected]
    assert list(good.directory.glob(".last.*")) == []


@pytest.mark.parametrize("kind", ["RayTrainWorker", "TrainController"])
def test_a_death_between_two_trials_costs_no_trial(
    kind: str, shared: TrainWorkersSlot, good: Assignment, half: Path
) -> None:
    os.kill(pids(kind)[0], signal.SIGKILL)
    time.sleep(2)
    assert_goes_on(shared, good, half)


def test_a_worker_that_dies_while_it_starts_costs_no_trial(good: Assignment, tmp_path: Path) -> None:
    dying: Any = DiesWhileItStarts(tmp_path / "has-died")
    with contextlib.closing(TrainWorkersSlot(workers=2, cpus=1, expected=dying)) as slot:
        assert TrialRun(slot, good).run_epoch().epoch == 1
    assert (tmp_path / "has-died").exists()


def test_a_rank_that_hangs_while_another_fails_is_not_waited_for(
    shared: TrainWorkersSlot, good: Assignment, half: Path
) -> None:
    shared.start(failing_on(0, good, others_hang=True))
    started = time.monotonic()
    with pytest.raises(
        WorkerLost, match=r"no answer from rank 1; rank 0: builtins\.ValueError: rank 0 has had enough"
    ):
        shared.run_epoch()
    assert time.monotonic() - started < 20
    assert_goes_on(shared, good, half)


def test_a_slot_without_room_can_be_closed(good: Assignment, shared: TrainWorkersSlot, half: Path) -> None:
    slot = TrainWorkersSlot(workers=2, cpus=2)  # the shared one holds two of four
    threading.Thread(target=_interrupt_when_waiting).start()
    with pytest.raises(KeyboardInterrupt):
        slot.start(good)
    assert _waiting()
    started = time.monotonic()
    slot.close()
    assert time.monotonic() - started < 5
    assert not _waiting()
    assert_goes_on(shared, good, half)
    assert len(pids("TrainController")) == 1


def test_a_slot_that_has_hardly_begun_can_be_closed(shared: TrainWorkersSlot) -> None:
    shared.close()
    assert_all_given_back()
    TrainWorkersSlot(workers=2, cpus=1).close()
    assert_all_given_back(within=20)  # the controller ends by itself, when it has come up
    slot = TrainWorkersSlot(workers=2, cpus=1)
    while not pids("RayTrainWorker"):
        time.sleep(0.05)
    slot.close()
    assert_all_given_back()


def test_a_killed_slot_gives_everything_back_although_its_workers_hang(
    data: Path, tmp_path: Path, shared: TrainWorkersSlot
) -> None:
    shared.close()
    with SlotReaper():
        assert_all_given_back()
        owner = ray.remote(num_cpus=0)(Owner).remote()
        pid = ray.get(owner.open.remote(assignment(data, tmp_path / "t000")))
        for hanging in pids("RayTrainWorker")[:1] + pids("SynchronizationActor"):
            os.kill(hanging, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        # 0.6 s on a free machine and 1.6 s at four times its load; 5.4 s if Ray waits for those that hang.
        assert_all_given_back(within=4)


def test_an_interrupted_driver_gives_everything_back(
    data: Path, tmp_path: Path, shared: TrainWorkersSlot
) -> None:
    shared.close()
    assert_all_given_back()
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.orchestrator.slots.owner", address, data, tmp_path / "t000"],
        cwd=Path(__file__).parents[3],
        env=os.environ | TO_LOOPBACK,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "running\n"
        driver.send_signal(signal.SIGINT)
        driver.wait(timeout=10)
        assert driver.returncode != 0
        assert_all_given_back()
    finally:
        driver.kill()
        driver.communicate()


def _waiting() -> bool:
    return any(row["state"] == "PENDING" for row in ray.util.placement_group_table().values())


def _interrupt_when_waiting() -> None:
    while not _waiting():
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)
