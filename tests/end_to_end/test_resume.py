"""Whatever kills a run, resuming it gives what would have been: nothing lost, nothing twice, nothing invented."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.end_to_end.commands import EXPERIMENT, SCRIPT, last_line, run
from tests.end_to_end.kills import (
    SAVING_OFTEN,
    Driver,
    after_epochs,
    curves,
    driver,
    endings,
    half_written,
    in_mlflow,
    proposals,
    writing_a_checkpoint,
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

KINDS = {
    "random": (
        ["search.sampler=random", "search.trials=4", "training.epochs=6", "compute.slots=2"],
        (4, 13, 17),
    ),
    "grid": (
        [
            "search.sampler=grid",
            "search.space={model.backbone.width: {choice: [16, 32]}, seed: {choice: [1, 2]}}",
            "training.epochs=6",
            "compute.slots=2",
        ],
        (7, 15),
    ),
    "tpe and halving": (
        [
            "search.sampler=tpe",
            "search.trials=8",
            "training.epochs=6",
            "compute.slots=1",
            "search.stop_early={kind: asha, min_epochs: 1, reduction: 2}",
        ],
        (3, 13, 22),
    ),
}


def overridden(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("-s", setting)]


def killed_and_resumed(
    folder: Path,
    name: str,
    command: list[str],
    points: list[Callable[[Driver], bool]],
    program: Sequence[str] = (SCRIPT,),
) -> int:
    """Run `command`, kill it at the first point, resume, kill at the next and so on; how often it was killed."""
    kills = 0
    arguments = command
    for point in points:
        with driver(folder, name, *arguments, command=program) as going:
            if going.wait_for(point):
                going.kill()
                kills += 1
        arguments = ["resume"]
    ending = run(folder, "resume", "--json")
    assert ending.returncode == 0, ending.stderr
    return kills


def assert_the_same(folders: list[Path], name: str) -> None:
    killed, undisturbed = folders
    one, other = killed / "equipoise_runs" / name, undisturbed / "equipoise_runs" / name
    assert proposals(one) == proposals(other)
    assert curves(one) == curves(other)
    assert endings(one) == endings(other)
    found, expected = in_mlflow(killed / "mlflow.db"), in_mlflow(undisturbed / "mlflow.db")
    assert found.keys() == expected.keys()
    for run_name, content in expected.items():
        assert found[run_name] == content, run_name


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_killed_again_and_again_is_the_undisturbed_one(kind: str, tmp_path: Path) -> None:
    settings, points = KINDS[kind]
    folders = [tmp_path / "killed", tmp_path / "undisturbed"]
    for folder in folders:
        folder.mkdir()
        (folder / "experiment.yaml").write_text(EXPERIMENT)
    command = ["search", "experiment.yaml", *overridden(settings)]
    draw = random.Random(kind)
    kills = killed_and_resumed(folders[0], "pairs-001", command, [after_epochs(n, draw) for n in points])
    assert kills == len(points)
    last_line(run(folders[1], *command, "--json"))
    assert_the_same(folders, "pairs-001")


def test_a_training_killed_in_the_middle_of_epochs_and_of_checkpoints_is_the_undisturbed_one(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "killed", tmp_path / "undisturbed"]
    for folder in folders:
        folder.mkdir()
        (folder / "experiment.yaml").write_text(EXPERIMENT)
    settings = ["training.epochs=10", "model.backbone.width=256"]
    command = ["train", "experiment.yaml", *overridden(settings)]
    draw = random.Random(0)
    points = [after_epochs(1, draw), writing_a_checkpoint, after_epochs(5, draw), writing_a_checkpoint]
    kills = killed_and_resumed(folders[0], "pairs-train-001", command, points, SAVING_OFTEN)
    assert kills == len(points)
    assert half_written(folders[0] / "equipoise_runs" / "pairs-train-001"), "killed too late"
    last_line(run(folders[1], *command, "--json"))
    assert_the_same(folders, "pairs-train-001")
