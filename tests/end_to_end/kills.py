"""Runs that are killed where it hurts, and resumed."""

import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.end_to_end import saving_often
from tests.end_to_end.commands import SCRIPT, run
from tests.end_to_end.driver import Driver, Kill, driver

SAVING_OFTEN = (sys.executable, saving_often.__file__)
"""`equipoise`, with a state before almost every epoch."""


def wait_until(happened: Callable[[], bool], *, seconds: float = 90.0) -> None:
    """Wait until something has happened, of which no command of ours ends."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def epochs(directory: Path) -> int:
    """How many epochs the journal has so far."""
    path = directory / "journal.jsonl"
    return path.read_bytes().count(b'{"event":"epoch"') if path.exists() else 0


def after_epochs(count: int, draw: random.Random) -> Callable[[Driver], bool]:
    """In the middle of an epoch: some time, shorter than one, after the journal has `count` of them."""
    reached: list[float] = []
    pause = draw.uniform(0.0, 0.3)

    def happened(driver: Driver) -> bool:
        if not reached and epochs(driver.run) >= count:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] >= pause

    return happened


def in_an_epoch(count: int, draw: random.Random) -> Callable[[Driver], bool]:
    """While a slot of a search trains, some time after the journal has `count` epochs and one trains."""
    reached: list[float] = []
    pause = draw.uniform(0.0, 0.5)

    def happened(driver: Driver) -> bool:
        if epochs(driver.run) < count or not driver.is_training():
            return False
        reached.append(time.monotonic())
        return reached[-1] - reached[0] >= pause

    return happened


def in_a_checkpoint(count: int, draw: random.Random) -> Callable[[Driver], bool]:
    """As `in_an_epoch`, and then while a slot writes a state, in the middle of which all slots are stopped."""
    trained = in_an_epoch(count, draw)
    return lambda driver: trained(driver) and driver.stop_in_a_checkpoint()


def writing_a_checkpoint(driver: Driver) -> bool:
    """A state is half-written at this moment."""
    return bool(driver.half_written())


def killed_and_resumed(
    folder: Path,
    name: str,
    command: Sequence[str],
    points: Sequence[Callable[[Driver], bool]],
    program: Sequence[str] = (SCRIPT,),
) -> list[Kill]:
    """Run `command`, kill it at the first point, resume, kill at the next and so on; then let it end."""
    kills = []
    arguments = command
    for point in points:
        with driver(folder, name, *arguments, command=program) as going:
            if going.wait_for(point):
                kills.append(going.kill())
        arguments = ["resume"]
    ending = run(folder, "resume", "--json", seconds=300)
    assert ending.returncode == 0, ending.stderr
    return kills
