"""Ray Tune runs what a searcher proposes: under our names, in warm slots, and stopped for a reason."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial

from orchestrator.tuning.outcomes import Completed, Outcome
from orchestrator.tuning.schedulers import QueueScheduler, make_scheduler
from orchestrator.tuning.searchers import GridSearcher, RandomSearcher
from orchestrator.tuning.tune_searcher import TuneSearcher
from search_spaces.domains import Choice, Uniform
from search_spaces.search import Asha
from search_spaces.space import SearchSpace

SPACE = SearchSpace({"x": Uniform(float=(0.0, 1.0))})
EPOCHS = 4


class Climber(tune.Trainable):  # type: ignore[misc]
    """Reports its trial's x after each of four short epochs; its slot may take time to open."""

    def setup(self, config: dict[str, Any]) -> None:
        time.sleep(config["opening"])
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._x = new_config["x"]
        self._epoch = 0
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(0.02)
        self._epoch += 1
        return {"epoch": self._epoch, "score": self._x, "done": self._epoch == EPOCHS, "process": os.getpid()}


class Recorder(tune.Callback):  # type: ignore[misc]
    """Tells the searcher what the journal would."""

    def __init__(self, searcher: TuneSearcher):
        self._searcher = searcher
        self.started: list[str] = []
        self.results: dict[str, list[dict[str, Any]]] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.started.append(trial.trial_id)
        number = trial.config["number"]
        self._searcher.hear(started(number, {"x": trial.config["x"]}))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.results.setdefault(trial.trial_id, []).append(result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = self.results[trial.trial_id][-1]
        status = "completed" if last["epoch"] == EPOCHS else "pruned"
        self._searcher.hear(ended(trial.config["number"], status, last["score"]))


class Remembering(RandomSearcher):
    """Random, and keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(SPACE, seed=0)
        self.told: dict[int, Outcome] = {}

    def tell(self, number: int, outcome: Outcome) -> None:
        self.told[number] = outcome


def started(number: int, values: dict[str, Any]) -> dict[str, Any]:
    return {"event": "trial_started", "trial": f"t{number:03d}", "number": number, "config": values}


def ended(number: int, status: str, score: float = 0.0) -> dict[str, Any]:
    metrics = {"score": score}
    return {
        "event": "trial_ended",
        "trial": f"t{number:03d}",
        "status": status,
        "epochs": EPOCHS,
        "metrics": metrics,
    }


def assign(number: int, values: dict[str, Any]) -> dict[str, Any]:
    return {"number": number, "opening": 0, **values}


def run(
    searcher: TuneSearcher, scheduler: QueueScheduler, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> Recorder:
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", str(searcher.slots))
    experiment = Experiment("tune", Climber, resources_per_trial={"cpu": 1}, storage_path=str(storage))
    searcher.add_configurations([experiment])
    recorder = Recorder(searcher)
    controller = TuneController(
        search_alg=searcher,
        scheduler=scheduler,
        callbacks=[recorder],
        reuse_actors=True,
        storage=experiment.storage,
    )
    while not controller.is_finished():
        controller.step()
    controller.cleanup()
    return recorder


@pytest.mark.usefixtures("ray_cluster")
def test_tune_runs_every_trial_and_the_searcher_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembering = Remembering()
    searcher = TuneSearcher(remembering, assign, trials=8, slots=2)
    recorder = run(searcher, QueueScheduler(), tmp_path, monkeypatch)
    assert sorted(recorder.started) == [f"t{n:03d}" for n in range(8)]
    assert all(len(results) == EPOCHS for results in recorder.results.values())
    proposals = [remembering.ask(n) for n in range(8)]
    assert remembering.told == {
        n: Completed({"score": values["x"]}) for n, values in enumerate(proposals) if values
    }


@pytest.mark.usefixtures("ray_cluster")
def test_a_slot_that_opens_late_is_not_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opening_slowly(number: int, values: dict[str, Any]) -> dict[str, Any]:
        return {**assign(number, values), "opening": 0.6 if number == 1 else 0}

    searcher = TuneSearcher(Remembering(), opening_slowly, trials=24, slots=2)
    recorder = run(searcher, QueueScheduler(), tmp_path, monkeypatch)
    processes = {result["process"] for results in recorder.results.values() for result in results}
    assert len(processes) == 2


@pytest.mark.usefixtures("ray_cluster")
def test_trials_are_pruned_for_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = TuneSearcher(Remembering(), assign, trials=9, slots=1)
    scheduler = make_scheduler(Asha(reduction=3), epochs=EPOCHS)
    recorder = run(searcher, scheduler, tmp_path, monkeypatch)
    stopped = {trial for trial, results in recorder.results.items() if len(results) < EPOCHS}
    assert stopped == scheduler.reasons.keys()
    assert 3 <= len(stopped) <= 7
    assert all("the best third's" in reason for reason in scheduler.reasons.values())


@pytest.mark.usefixtures("ray_cluster")
def test_a_grid_ends_when_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = GridSearcher(SearchSpace({"x": Choice(choice=(0.1, 0.2, 0.3))}), seed=0)
    recorder = run(TuneSearcher(grid, assign, trials=50, slots=2), QueueScheduler(), tmp_path, monkeypatch)
    assert sorted(recorder.started) == ["t000", "t001", "t002"]


@pytest.mark.usefixtures("ray_cluster")
def test_a_search_goes_on_from_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = Remembering()
    searcher = TuneSearcher(remembering, assign, trials=6, slots=1)
    for event in [
        {"event": "search_started"},
        started(0, {"x": 0.5}),
        started(1, {"x": 0.125}),
        started(3, {"x": 0.25}),
        ended(0, "completed", 0.5),
        ended(3, "interrupted"),
    ]:
        searcher.hear(event)
    recorder = run(searcher, QueueScheduler(), tmp_path, monkeypatch)
    assert recorder.started == ["t001", "t003", "t002", "t004", "t005"]
    assert [recorder.results[trial][-1]["score"] for trial in ("t001", "t003")] == [0.125, 0.25]
    assert remembering.told[0] == Completed({"score": 0.5})
    assert sorted(remembering.told) == list(range(6))


def test_nothing_new_begins_while_a_trial_waits_for_a_slot_after_a_death(tmp_path: Path) -> None:
    searcher = TuneSearcher(Remembering(), assign, trials=3, slots=2)
    searcher.add_configurations([Experiment("tune", Climber, storage_path=str(tmp_path))])
    first = searcher.next_trial()
    assert first is not None
    first.deaths["loss of the machine"] += 1
    assert first.status == Trial.PENDING
    assert searcher.next_trial() is None
    first.status = Trial.RUNNING
    assert searcher.next_trial() is not None
    assert searcher.running == 2
    assert searcher.next_trial() is None, "no slot is free"
