"""The clock is set while a search runs, a day forwards or backwards: what is measured is what has passed."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.report.search_log import read_search
from orchestrator.runs.journal import read_journal
from tests.end_to_end.commands import EXPERIMENT, overridden
from tests.end_to_end.driver import Driver, driver
from tests.end_to_end.kills import epochs
from tests.end_to_end.recorded import assert_the_same, lease

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(500)]

NAME = "pairs-001"
DAY = 86_400
PATIENCE = 250.0
SETTINGS = ["search.trials=4", "training.epochs=30", "compute.slots=2"]
SEARCH = ["search", "experiment.yaml", *overridden(SETTINGS)]
SITE = """
import os, time

def shifted(clock, unit, path=os.environ["CLOCK_IS_OFF_BY"]):
    def now():
        with open(path) as file:
            return clock() + int(file.read()) * unit
    return now

time.time, time.time_ns = shifted(time.time, 1), shifted(time.time_ns, 10**9)
"""
"""Imported by every Python when it starts: its clock is off by as many seconds as a file says."""


class OffClock:
    """The clock of a folder's commands and all that they start; Ray's processes that are not Python keep theirs."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "off-by"
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE)
        self.environment = {
            "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "CLOCK_IS_OFF_BY": str(self._file),
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """By how much it is off from now on."""
        beside = self._file.with_suffix(".new")
        beside.write_text(str(seconds))
        beside.replace(self._file)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the same search had a clock that nobody touched."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    with driver(folder, NAME, *SEARCH) as going:
        assert going.finish(seconds=PATIENCE) == 0
    return folder


def reached(count: int) -> Callable[[Driver], bool]:
    return lambda driver: epochs(driver.run) >= count


def assert_timed(folder: Path, elapsed: float) -> None:
    """No time of the run is longer than what has passed, none is negative, and no two events are further apart."""
    record = read_search(folder / "equipoise_runs" / NAME)
    assert 0 < record.seconds <= elapsed
    for trial in record.trials:
        assert trial.seconds is not None
        assert trial.start_seconds is not None
        assert 0 <= trial.start_seconds <= trial.seconds <= elapsed
    shown = re.findall(r"^ *(\S+)  t\d\d\d ", (folder / "printed.txt").read_text(), re.MULTILINE)
    assert shown
    for duration in shown:
        assert re.fullmatch(r"\d+:\d\d", duration), duration


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_search_during_which_the_clock_is_set_is_the_undisturbed_one(
    jump: int, tmp_path: Path, undisturbed: Path
) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    clock, began = OffClock(tmp_path), time.time()
    with driver(tmp_path, NAME, *SEARCH, extra=clock.environment) as going:
        assert going.wait_for(lambda _: lease(tmp_path) > 0)
        for off in (jump, 0):
            clock.set(off)
            seen = epochs(going.run)
            assert going.wait_for(lambda _, off=off: 0 < lease(tmp_path) - off - time.time() <= 180)  # type: ignore[misc]
            assert going.wait_for(reached(seen + 4))
        assert going.finish(seconds=PATIENCE) == 0
    elapsed = time.time() - began
    assert_timed(tmp_path, elapsed)
    times = [event["time"] for event in read_journal(tmp_path / "equipoise_runs" / NAME)]
    assert began <= min(times)
    assert max(times) <= began + elapsed
    assert_the_same([tmp_path, undisturbed], NAME)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_search_is_resumed_under_another_clock(jump: int, tmp_path: Path, undisturbed: Path) -> None:
    """It was killed while the clock was off, which has been put right since."""
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    clock, began = OffClock(tmp_path), time.time()
    clock.set(jump)
    with driver(tmp_path, NAME, *SEARCH, extra=clock.environment) as going:
        assert going.wait_for(reached(10))
        going.kill()
    clock.set(0)
    with driver(tmp_path, NAME, "resume", extra=clock.environment) as going:
        assert going.finish(seconds=PATIENCE) == 0
    assert_timed(tmp_path, time.time() - began)
    assert_the_same([tmp_path, undisturbed], NAME)
