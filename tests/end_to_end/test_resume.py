"""Whatever kills a training, a slot or a search on several of them, resuming gives what would have been."""

import random
from pathlib import Path

import pytest

from orchestrator.resuming.replay import History, read_history
from orchestrator.resuming.rerun import rerun
from orchestrator.spec import ExperimentSpec
from orchestrator.tuning.outcomes import recorded_outcome
from orchestrator.tuning.schedulers import make_scheduler
from orchestrator.tuning.searchers import make_searcher
from search_spaces.space import SearchSpace
from tests.end_to_end.commands import EXPERIMENT, last_line, overridden, run
from tests.end_to_end.driver import driver, half_written
from tests.end_to_end.kills import (
    SAVING_OFTEN,
    after_epochs,
    epochs,
    killed_and_resumed,
    writing_a_checkpoint,
)
from tests.end_to_end.recorded import assert_the_same, curves, endings, in_mlflow

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


def test_a_training_killed_in_the_middle_of_epochs_and_of_checkpoints_is_the_undisturbed_one(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "killed", tmp_path / "undisturbed"]
    for folder in folders:
        folder.mkdir()
        (folder / "experiment.yaml").write_text(EXPERIMENT)
    settings = ["training.epochs=12", "model.backbone.width=64", "compute.workers=1"]
    command = ["train", "experiment.yaml", *overridden(settings)]
    draw = random.Random(0)
    points = [after_epochs(1, draw), after_epochs(3, draw), *[writing_a_checkpoint] * 3]
    kills = killed_and_resumed(folders[0], "pairs-train-001", command, points, SAVING_OFTEN)
    assert len(kills) == len(points)
    assert any(kill.half_written for kill in kills), "all of them came too late"
    last_line(run(folders[1], *command, "--json"))
    assert_the_same(folders, "pairs-train-001")


SEVERAL = """
  trials: 8
  sampler: tpe
  stop_early: {kind: asha, min_epochs: 1, reduction: 2}
"""


def test_with_several_slots_every_trial_and_every_decision_is_as_it_would_have_been(tmp_path: Path) -> None:
    """Which trials run side by side is up to the clock; what each does, and what follows from it, is not."""
    text = EXPERIMENT.replace("  trials: 4\n  sampler: random\n", SEVERAL.lstrip("\n"))
    (tmp_path / "experiment.yaml").write_text(text)
    command = ["search", "experiment.yaml", *overridden(["training.epochs=6", "compute.slots=2"])]
    draw = random.Random("several")
    points = [after_epochs(n, draw) for n in (5, 14, 20)]
    kills = killed_and_resumed(tmp_path, "pairs-001", command, points)
    assert len(kills) == len(points)
    assert (
        sum(kill.training for kill in kills) >= len(points) - 1
    )  # one may come when an epoch has just ended
    directory = tmp_path / "equipoise_runs" / "pairs-001"
    history = read_history(directory)
    spec = history.spec()
    assert_proposed_again(history, spec)
    assert_stopped_again(history, spec)
    found = curves(directory)
    assert {trial for trial, _ in found} == set(endings(directory)) == {f"t{n:03d}" for n in range(8)}
    for trial in endings(directory):
        assert rerun(directory, trial).is_equal
    runs = in_mlflow(tmp_path / "mlflow.db")
    assert len(runs) == 9
    statuses = {
        content["equipoise.searched"]: content["status"] for content in runs.values() if "parent" in content
    }
    assert sorted(statuses.values()) == sorted(
        {"completed": "FINISHED", "pruned": "KILLED"}[status] for status, _ in endings(directory).values()
    )


def assert_proposed_again(history: History, spec: ExperimentSpec) -> None:
    """A sampler that is shown as much of the journal as was known then proposes what was proposed."""
    space = SearchSpace.from_config(spec.search.space, tasks=list(spec.tasks), fixed=spec.resolved())
    searcher = make_searcher(spec.search, space, spec.objectives, seed=spec.seed)
    changes = [event for event in history.events if event["event"] in ("trial_started", "trial_ended")]
    starts = [event for event in changes if event["event"] == "trial_started"]
    numbers = {event["trial"]: event["number"] for event in starts}
    told = 0
    for start in sorted(starts, key=lambda event: event["number"]):
        for event in changes[told : start["heard"]]:
            if event["event"] == "trial_ended" and event["status"] != "interrupted":
                searcher.tell(numbers[event["trial"]], recorded_outcome(event))
        told = start["heard"]
        assert searcher.ask(start["number"]) == start["config"], start["trial"]


def assert_stopped_again(history: History, spec: ExperimentSpec) -> None:
    """A scheduler that is shown the journal stops what was stopped, for the same reasons."""
    scheduler = make_scheduler(spec.search.stop_early, epochs=spec.most_epochs)
    for event in history.events:
        scheduler.hear(event)
    stopped = {
        event["trial"]: event["reason"]
        for event in history.events
        if event["event"] == "trial_ended" and event["status"] == "pruned"
    }
    assert scheduler.reasons == stopped
    assert stopped


@pytest.mark.parametrize("moment", ["epoch", "checkpoint"])
def test_a_trial_whose_slot_is_killed_goes_on_by_itself(moment: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    settings = ["search.trials=1", "training.epochs=30", "model.backbone.width=256", "search.space=null"]
    directory = tmp_path / "equipoise_runs" / "pairs-001"
    with driver(tmp_path, "pairs-001", "search", "experiment.yaml", *overridden(settings)) as going:
        assert going.wait_for(lambda driver: epochs(driver.run) >= 1)
        (slot,) = going.processes("ray::TrialTrainable")
        point = after_epochs(2, random.Random(0)) if moment == "epoch" else writing_a_checkpoint
        assert going.wait_for(point)
        slot.kill()
        if moment == "checkpoint":
            slot.wait()
            assert half_written(directory), "killed too late"
        assert going.finish() == 0
    assert not half_written(directory), "left behind"
    events = [event["event"] for event in read_history(directory).events]
    assert events.count("trial_restarted") == 1
    assert {epoch for _, epoch in curves(directory)} == set(range(1, 31))
    assert rerun(directory, "t000").is_equal
