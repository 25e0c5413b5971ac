"""What every trial slot promises: one suite for the slot in this process and the warm worker group."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from torch import Tensor

from orchestrator.slots.base import Assignment, RankFailed, TrialSlot
from orchestrator.slots.in_process import InProcessSlot
from orchestrator.slots.train_workers import TrainWorkersSlot
from tests.orchestrator.slots.census import assert_all_given_back, pids
from tests.orchestrator.slots.trials import assignment, failing_on, not_finite, run, saved, write_data
from trainables.config.model import NamedBackbone
from trainables.errors import OutOfMemory, TrainingError
from trainables.training.predictions import Predictions
from trainables.training.report import EpochReport
from trainables.training.state import load_model_state


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("slots") / "data")


@pytest.fixture(scope="module")
def alone() -> Iterator[TrialSlot]:
    slot = InProcessSlot(cpus=1)
    yield slot
    slot.close()


@pytest.fixture(scope="module")
def workers(ray_cluster: None) -> Iterator[TrialSlot]:
    slot = TrainWorkersSlot(workers=2, cpus=1)
    yield slot
    slot.close()
    slot.close()
    assert_all_given_back()


@pytest.fixture(params=["alone", "workers"])
def slot(request: pytest.FixtureRequest) -> TrialSlot:
    made: TrialSlot = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def first(data: Path, tmp_path: Path) -> Assignment:
    return assignment(data, tmp_path / "t000")


@pytest.fixture
def second(data: Path, tmp_path: Path) -> Assignment:
    return assignment(data, tmp_path / "t001", lr=1e-2, seed=3)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-6)


def without_times(report: EpochReport) -> EpochReport:
    training = {name: value for name, value in report.training.items() if name != "images_per_second"}
    return replace(report, seconds=0, training=training)


def test_epochs_are_counted_reported_and_finished(slot: TrialSlot, first: Assignment) -> None:
    reports = run(slot, first, 4)
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert [report.finished for report in reports] == [False, False, False, True]
    assert reports[0].best
    assert {"score", "shape.accuracy", "bright.loss"} <= reports[0].metrics.keys()
    assert {"shape.train_loss", "shape.weight", "lr", "images_per_second"} <= reports[0].training.keys()
    assert reports[-1].metrics["score"] > reports[0].metrics["score"]
    assert all(report.seconds > 0 for report in reports)


def test_a_trial_does_not_depend_on_the_one_before(
    slot: TrialSlot, first: Assignment, second: Assignment, tmp_path: Path
) -> None:
    before = [without_times(report) for report in run(slot, first, 3)]
    state = saved(slot, tmp_path / "before")
    run(slot, second, 2)
    after = [without_times(report) for report in run(slot, first, 3)]
    assert after == before
    assert_equal(saved(slot, tmp_path / "after"), state)


def test_a_resumed_trial_is_the_uninterrupted_one_bit_by_bit(
    slot: TrialSlot, first: Assignment, second: Assignment, tmp_path: Path
) -> None:
    whole = [without_times(report) for report in run(slot, first, 4)]
    state = saved(slot, tmp_path / "whole")
    run(slot, first, 2)
    slot.save(tmp_path / "half")
    run(slot, second, 1)
    rest = [without_times(report) for report in run(slot, first, 2, checkpoint=tmp_path / "half")]
    assert rest == whole[2:]
    assert_equal(saved(slot, tmp_path / "rest"), state)


def test_saving_changes_nothing_and_replaces_what_was_saved_before(
    slot: TrialSlot, first: Assignment, tmp_path: Path
) -> None:
    run(slot, first, 3)
    expected = saved(slot, tmp_path / "expected")
    slot.start(first)
    for _ in range(3):
        slot.run_epoch()
        slot.save(tmp_path / "last")
    assert_equal(saved(slot, tmp_path / "last"), expected)


def test_the_model_of_the_selected_epoch_is_kept(slot: TrialSlot, first: Assignment) -> None:
    selected: EpochReport | None = None
    slot.start(first)
    for _ in range(4):
        report = slot.run_epoch()
        if report.best:
            selected = report
            slot.save_best(first.directory / "best")
    assert selected is not None
    best = load_model_state(first.directory / "best")
    assert best.meta["epoch"] == selected.epoch
    assert best.meta["metrics"] == selected.metrics
    assert Predictions.load(first.directory / "best").epoch == selected.epoch


def test_the_selected_model_can_be_kept_after_a_later_epoch_failed(
    slot: TrialSlot, data: Path, first: Assignment, tmp_path: Path
) -> None:
    report = run(slot, first, 1)[0]
    slot.save(tmp_path / "first")
    slot.start(not_finite(data, tmp_path / "bad"), tmp_path / "first")
    with pytest.raises(TrainingError, match="The loss of task"):
        slot.run_epoch()
    slot.save_best(tmp_path / "best")
    assert load_model_state(tmp_path / "best").meta["metrics"] == report.metrics


def test_a_failing_trial_leaves_the_slot_usable(
    slot: TrialSlot, data: Path, first: Assignment, tmp_path: Path
) -> None:
    expected = [without_times(report) for report in run(slot, first, 2)]
    slot.start(not_finite(data, tmp_path / "bad"))
    with pytest.raises(TrainingError, match="loss of task"):
        slot.run_epoch()
    assert [without_times(report) for report in run(slot, first, 2)] == expected


def test_a_want_of_memory_is_told_as_such(slot: TrialSlot, first: Assignment) -> None:
    model = first.config.model.model_copy(
        update={"backbone": NamedBackbone(name="tests.contracts.nets:greedy")}
    )
    with pytest.raises(OutOfMemory, match="Out of memory"):
        run(slot, replace(first, config=first.config.model_copy(update={"model": model})), 1)
    assert run(slot, first, 1)[0].epoch == 1


def test_a_checkpoint_that_is_none_fails_the_start_alone(
    slot: TrialSlot, first: Assignment, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        slot.start(first, tmp_path / "nowhere")
    with pytest.raises(Exception, match="no trial has been started"):
        slot.run_epoch()
    assert run(slot, first, 1)[0].epoch == 1


def test_a_trial_may_be_dropped_in_the_middle(
    slot: TrialSlot, first: Assignment, second: Assignment, tmp_path: Path
) -> None:
    run(slot, second, 1)
    expected = saved(slot, tmp_path / "expected")
    run(slot, first, 1)
    run(slot, second, 1)
    assert_equal(saved(slot, tmp_path / "found"), expected)


def test_both_slots_agree_on_a_trial(
    alone: TrialSlot, workers: TrialSlot, first: Assignment, tmp_path: Path
) -> None:
    run(alone, first, 3)
    run(workers, first, 3)
    assert_close(saved(workers, tmp_path / "workers"), saved(alone, tmp_path / "alone"))


@pytest.mark.parametrize("there", ["alone", "workers"])
def test_a_trial_goes_on_in_a_slot_of_another_kind(
    there: str, alone: TrialSlot, workers: TrialSlot, first: Assignment, tmp_path: Path
) -> None:
    run(alone, first, 4)
    expected = saved(alone, tmp_path / "expected")
    begins, ends = (workers, alone) if there == "alone" else (alone, workers)
    run(begins, first, 2)
    begins.save(tmp_path / "half")
    run(ends, first, 2, checkpoint=tmp_path / "half")
    assert_close(saved(ends, tmp_path / "found"), expected)


def test_a_cold_slot_does_what_a_warm_one_does(alone: TrialSlot, first: Assignment, tmp_path: Path) -> None:
    run(alone, first, 2)
    cold = InProcessSlot(cpus=1)
    run(cold, first, 2)
    assert_equal(saved(cold, tmp_path / "cold"), saved(alone, tmp_path / "warm"))
    cold.close()
    cold.close()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_fails_alone_ends_its_trial_and_wakes_the_others(
    rank: int, workers: TrialSlot, first: Assignment, tmp_path: Path
) -> None:
    run(workers, first, 2)
    expected = saved(workers, tmp_path / "expected")
    before = pids("RayTrainWorker")
    workers.start(failing_on(rank, first))
    started = time.monotonic()
    with pytest.raises(RankFailed, match=f"rank {rank}: builtins.ValueError: rank {rank} has had enough"):
        workers.run_epoch()
    assert time.monotonic() - started < 2
    run(workers, first, 2)
    found = saved(workers, tmp_path / "found")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert pids("RayTrainWorker") == before


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_cannot_start_ends_its_trial_and_wakes_the_others(
    rank: int, workers: TrialSlot, first: Assignment
) -> None:
    """The others wait for it in the broadcast of the initial weights."""
    expected = [without_times(report) for report in run(workers, first, 1)]
    before = pids("RayTrainWorker")
    started = time.monotonic()
    with pytest.raises(RankFailed, match=f"rank {rank}: builtins.ValueError: rank {rank} has had enough"):
        workers.start(failing_on(rank, first, during="Trainer.__init__"))
    # 16 to 25 ms when the machine is free; 10 s would be the slot's patience with ranks that say nothing.
    # Once more than 2 s, with fifteen times the work the machine has cores for.
    assert time.monotonic() - started < 5
    with pytest.raises(RankFailed, match="no trial has been started"):
        workers.run_epoch()
    assert [without_times(report) for report in run(workers, first, 1)] == expected
    assert pids("RayTrainWorker") == before


def test_the_next_trial_starts_at_once(workers: TrialSlot, first: Assignment) -> None:
    run(workers, first, 1)
    started = time.monotonic()
    for _ in range(10):
        workers.start(first)
    # 7 to 14 ms when the machine is free; the bound is what a search needs.
    assert (time.monotonic() - started) / 10 < 0.15


@pytest.mark.slow
def test_a_worker_group_of_one_agrees_with_this_process(
    alone: TrialSlot, workers: TrialSlot, first: Assignment, tmp_path: Path
) -> None:
    one = TrainWorkersSlot(workers=1, cpus=1)
    run(one, first, 3)
    run(alone, first, 3)
    assert_close(saved(one, tmp_path / "one"), saved(alone, tmp_path / "alone"))
    one.close()


@pytest.mark.gpu
@pytest.mark.usefixtures("ray_cluster")
def test_workers_on_gpus_agree_with_this_process(alone: TrialSlot, first: Assignment, tmp_path: Path) -> None:
    if ray.cluster_resources().get("GPU", 0) < 2:
        pytest.skip("needs a Ray with two GPUs")
    pair = TrainWorkersSlot(workers=2, cpus=1, gpus=1)
    run(pair, first, 3)
    run(alone, first, 3)
    assert_close(saved(pair, tmp_path / "pair"), saved(alone, tmp_path / "alone"))
    pair.close()
