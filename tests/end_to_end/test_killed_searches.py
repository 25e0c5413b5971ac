"""Whenever the driver of a search is killed, resuming it gives what would have been: nothing lost, nothing twice."""

import functools
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.end_to_end.commands import EXPERIMENT, last_line, overridden, run
from tests.end_to_end.driver import driver
from tests.end_to_end.kills import (
    SAVING_OFTEN,
    after_epochs,
    in_a_checkpoint,
    in_an_epoch,
    killed_and_resumed,
)
from tests.end_to_end.recorded import assert_the_same

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

FOUR_OF_24 = ["search.trials=4", "training.epochs=24", "compute.slots=2"]
GRID = "{model.backbone.width: {choice: [16, 32]}, training.optimizer.lr: {choice: [1e-3, 3e-3]}}"
KINDS = {
    "random": ["search.sampler=random", *FOUR_OF_24],
    "quasi_random": ["search.sampler=quasi_random", *FOUR_OF_24],
    "grid": ["search.sampler=grid", f"search.space={GRID}", *FOUR_OF_24],
    "tpe and halving": [
        "search.sampler=tpe",
        "search.trials=8",
        "training.epochs=6",
        "compute.slots=1",
        "search.stop_early={kind: asha, min_epochs: 1, reduction: 2}",
    ],
}
KILLS = {"random": (5, 2), "quasi_random": (4, 2), "grid": (5, 2)}
"""So many in the middle of epochs, and of states: twenty."""


@functools.cache
def undisturbed(kind: str, folder: Path) -> Path:
    """A folder in which a search of this kind was left in peace."""
    place = folder / kind
    place.mkdir()
    (place / "experiment.yaml").write_text(EXPERIMENT)
    last_line(run(place, *command_of(kind), "--json", seconds=300))
    return place


def command_of(kind: str) -> list[str]:
    return ["search", "experiment.yaml", *overridden(KINDS[kind])]


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peace")


@pytest.mark.parametrize("kind", KILLS)
def test_a_search_killed_again_and_again_is_the_undisturbed_one(
    kind: str, tmp_path: Path, peace: Path
) -> None:
    """In epochs, or while the one slot writes a state and the other one trains or writes its own."""
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    epochs, states = KILLS[kind]
    draw = random.Random(kind)
    moments = draw.sample([in_an_epoch] * epochs + [in_a_checkpoint] * states, epochs + states)
    progress = sorted(draw.sample(range(1, 4 * 24 * 3 // 4), epochs + states))
    points = [moment(count, draw) for moment, count in zip(moments, progress, strict=True)]
    kills = killed_and_resumed(tmp_path, "pairs-001", command_of(kind), points, SAVING_OFTEN)
    assert len(kills) == epochs + states
    assert sum(kill.half_written for kill in kills) >= states
    # One that was meant for an epoch may come in the state before it, or when the epoch has just ended.
    assert sum(kill.training for kill in kills) >= epochs + states - 1
    assert any(kill.training and not kill.half_written for kill in kills)
    assert_the_same([tmp_path, undisturbed(kind, peace)], "pairs-001")


def test_a_search_with_early_stopping_killed_again_and_again_is_the_undisturbed_one(
    tmp_path: Path, peace: Path
) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    kind = "tpe and halving"
    draw = random.Random(kind)
    points = [after_epochs(count, draw) for count in (3, 13, 22)]
    kills = killed_and_resumed(tmp_path, "pairs-001", command_of(kind), points)
    assert len(kills) == len(points)
    assert (
        sum(kill.training for kill in kills) >= len(points) - 1
    )  # one may come when an epoch has just ended
    assert_the_same([tmp_path, undisturbed(kind, peace)], "pairs-001")


@pytest.mark.parametrize("number", range(int(os.environ.get("CHAOS_ROUNDS", "1"))))
def test_a_search_killed_whenever_it_may_be_is_the_undisturbed_one(
    number: int, tmp_path: Path, peace: Path
) -> None:
    """While it starts, trains, ends or tells MLflow: as often as `make chaos` wants."""
    draw = random.Random(number)
    kind = draw.choice(list(KINDS))
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    directory = tmp_path / "equipoise_runs" / "pairs-001"

    def next_command() -> list[str]:
        journal = directory / "journal.jsonl"
        if journal.exists() and b"\n" in journal.read_bytes():
            return ["resume"]
        shutil.rmtree(directory, ignore_errors=True)  # below tmp_path; killed before it had said anything
        return command_of(kind)

    for _ in range(draw.randint(1, 4)):
        arguments = next_command()
        end = time.monotonic() + draw.uniform(1.0, 25.0)
        with driver(tmp_path, "pairs-001", *arguments) as going:
            if going.wait_for(lambda driver, end=end: time.monotonic() > end):  # type: ignore[misc]
                going.kill()
    last_line(run(tmp_path, *next_command(), "--json", seconds=300))
    assert_the_same([tmp_path, undisturbed(kind, peace)], "pairs-001")
