"""When a trial's state is written, and what happens when it cannot be."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.slots import trial_run
from orchestrator.slots.base import Assignment, WorkerLost
from orchestrator.slots.in_process import InProcessSlot
from orchestrator.slots.trial_run import TrialRun
from orchestrator.slots.want_of_memory import REASON, reason_of
from tests.orchestrator.slots.trials import assignment, not_finite, write_data
from trainables.errors import OutOfMemory, StorageError, TrainingError
from trainables.training.predictions import Predictions
from trainables.training.report import EpochReport
from trainables.training.state import load_model_state, load_state


@pytest.fixture
def good(tmp_path: Path) -> Assignment:
    return assignment(write_data(tmp_path / "data"), tmp_path / "t000")


@pytest.fixture
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(trial_run, "LARGEST_SHARE", 1e9)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.usefixtures("always_due")
def test_a_state_is_never_ahead_of_what_was_reported(good: Assignment) -> None:
    last = good.directory / "last"
    trial = TrialRun(InProcessSlot(cpus=1), good)
    trial.checkpoint_if_due()
    assert not last.exists()
    for epoch in (1, 2, 3):
        assert trial.run_epoch().epoch == epoch
        assert not last.exists() or load_state(last).meta["epoch"] < epoch
        trial.checkpoint_if_due()
        assert load_state(last).meta["epoch"] == epoch


def test_fast_epochs_are_not_all_saved(good: Assignment) -> None:
    trial = TrialRun(InProcessSlot(cpus=1), good)
    for _ in range(4):
        trial.checkpoint_if_due()
        trial.run_epoch()
    assert not (good.directory / "last").exists()


@pytest.mark.usefixtures("always_due")
def test_a_full_disk_costs_the_checkpoint_and_not_the_trial(good: Assignment) -> None:
    last = good.directory / "last"
    trial = TrialRun(InProcessSlot(cpus=1), good)
    trial.run_epoch()
    trial.checkpoint_if_due()
    trial.run_epoch()
    with full_disk():
        trial.checkpoint_if_due()
    assert trial.unsaved == f"{last} cannot be written: File too large"
    assert load_state(last).meta["epoch"] == 1
    assert [path.name for path in good.directory.iterdir() if path.name.startswith(".")] == []
    assert trial.run_epoch().epoch == 3
    trial.checkpoint_if_due()
    assert load_state(last).meta["epoch"] == 3
    assert trial.unsaved is None


@pytest.mark.usefixtures("always_due")
def test_a_selected_model_that_cannot_be_written_is_written_later_and_no_state_is_ahead_of_it(
    good: Assignment,
) -> None:
    trial = TrialRun(InProcessSlot(cpus=1), good)
    with full_disk():
        report = trial.run_epoch()
        assert report.best
        assert trial.unsaved == f"{good.directory / 'best'} cannot be written: File too large"
    (good.directory / "best").write_text("in the way")
    trial.checkpoint_if_due()
    assert not (good.directory / "last").exists()
    (good.directory / "best").unlink()
    trial.checkpoint_if_due()
    assert load_model_state(good.directory / "best").meta["epoch"] == 1
    assert load_state(good.directory / "last").meta["epoch"] == 1
    assert trial.unsaved is None


def test_a_trial_is_not_done_before_its_selected_model_is_written(good: Assignment) -> None:
    good.directory.write_text("in the way")
    trial = TrialRun(InProcessSlot(cpus=1), good)
    for _ in range(good.config.training.epochs - 1):
        trial.run_epoch()
        assert trial.unsaved
    with pytest.raises(StorageError, match="best cannot be written: "):
        trial.run_epoch()


def cut_off(state: bytes) -> bytes:
    return state[:100]


def one_bit(state: bytes) -> bytes:
    return state[:-9] + bytes([state[-9] ^ 4]) + state[-8:]


@pytest.mark.usefixtures("always_due")
@pytest.mark.parametrize("damaged", [cut_off, one_bit])
def test_a_state_that_the_disk_has_damaged_costs_time_and_nothing_else(
    damaged: Callable[[bytes], bytes], good: Assignment, caplog: pytest.LogCaptureFixture
) -> None:
    slot = InProcessSlot(cpus=1)
    trial = TrialRun(slot, good)
    first = [trial.run_epoch(), trial.run_epoch()]
    trial.checkpoint_if_due()
    state = good.directory / "last" / "state.safetensors"
    state.write_bytes(damaged(state.read_bytes()))
    again = TrialRun(slot, good)
    assert "t000 starts afresh" in caplog.text
    assert [again.run_epoch().metrics for _ in first] == [report.metrics for report in first]


def test_a_trial_removes_what_a_killed_process_left_half_written(good: Assignment) -> None:
    half = good.directory / ".last.0123abcd.tmp"
    half.mkdir(parents=True)
    (half / "state.safetensors").write_bytes(b"a beginning")
    TrialRun(InProcessSlot(cpus=1), good).run_epoch()
    assert not half.exists()


class CountingSlot(InProcessSlot):
    """Counts the models that it writes."""

    written = 0

    def save_best(self, directory: Path) -> None:
        self.written += 1
        super().save_best(directory)


def test_of_epochs_that_are_told_together_one_model_is_written(good: Assignment) -> None:
    slot = CountingSlot(cpus=1)
    reports = list(TrialRun(slot, good).run_epochs(600.0))
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert sum(report.best for report in reports) > 1
    assert slot.written == 1
    selected = [report for report in reports if report.best][-1]
    assert load_model_state(good.directory / "best").meta["epoch"] == selected.epoch
    assert Predictions.load(good.directory / "best").epoch == selected.epoch


def test_a_trial_that_fails_keeps_the_model_of_the_epochs_before(good: Assignment) -> None:
    slot = InProcessSlot(cpus=1)
    epochs = TrialRun(slot, good).run_epochs(600.0)
    first = next(epochs)
    assert first.best
    slot.save(good.directory / "state")
    slot.start(not_finite(good.data, good.directory), good.directory / "state")
    with pytest.raises(TrainingError, match="The loss of task"):
        next(epochs)
    assert load_model_state(good.directory / "best").meta["metrics"] == first.metrics


class SmallSlot(InProcessSlot):
    """Has memory for an epoch, and then only for trials that keep no activations."""

    started: list[bool]

    def start(self, assignment: Assignment, checkpoint: Path | None = None) -> None:
        self.started = [*getattr(self, "started", []), assignment.config.training.recompute]
        self.epochs = 0
        super().start(assignment, checkpoint)

    def run_epoch(self) -> EpochReport:
        if self.epochs == self.room and not (self.generous and self.started[-1]):
            raise OutOfMemory("Out of memory on cpu.", hint="Lower something.")
        self.epochs += 1
        return super().run_epoch()

    def __init__(self, *, room: int, generous: bool) -> None:
        super().__init__(cpus=1)
        self.room, self.generous = room, generous


def test_a_trial_that_runs_out_of_memory_goes_on_with_less_and_gets_the_same_numbers(
    good: Assignment,
) -> None:
    undisturbed = TrialRun(InProcessSlot(cpus=1), replace(good, directory=good.directory / "other"))
    expected = [undisturbed.run_epoch().metrics for _ in range(4)]
    slot = SmallSlot(room=1, generous=True)
    trial = TrialRun(slot, good)
    assert [trial.run_epoch().metrics for _ in range(4)] == expected
    assert slot.started == [False, True]
    assert (undisturbed.short_of_memory, trial.short_of_memory) == (None, "Out of memory on cpu.")


class MonitoredSlot(InProcessSlot):
    """Ray ends a worker of it in the second epoch of every trial that keeps its activations."""

    def start(self, assignment: Assignment, checkpoint: Path | None = None) -> None:
        self.epochs, self.recompute = 0, assignment.config.training.recompute
        super().start(assignment, checkpoint)

    def run_epoch(self) -> EpochReport:
        self.epochs += 1
        if self.epochs == 2 and not self.recompute:
            raise WorkerLost(f"rank 1: {reason_of(RAYS_ACCOUNT)}")
        return super().run_epoch()


RAYS_ACCOUNT = (
    "Memory on the node (IP: 10.0.0.1) was 14.53GB used / 23.54GB limit (0.617397)\nOOM kill reason: …"
)


def test_a_worker_that_ray_ended_for_want_of_memory_is_no_crash(good: Assignment) -> None:
    undisturbed = TrialRun(InProcessSlot(cpus=1), replace(good, directory=good.directory / "other"))
    expected = [undisturbed.run_epoch().metrics for _ in range(4)]
    trial = TrialRun(MonitoredSlot(cpus=1), good)
    assert [trial.run_epoch().metrics for _ in range(4)] == expected
    assert trial.short_of_memory == f"{REASON}: 14.5 of 23.5 GB were in use"


def test_what_is_too_much_even_so_fails_the_trial(good: Assignment) -> None:
    slot = SmallSlot(room=0, generous=False)
    with pytest.raises(OutOfMemory):
        TrialRun(slot, good).run_epoch()
    assert slot.started == [False, True]
