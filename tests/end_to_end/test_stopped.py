"""A process of a search is stopped for a while, as by Ctrl-Z, a debugger or a machine that sleeps, and then goes on."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.tracking.follower import LEASE_SECONDS
from tests.end_to_end.commands import EXPERIMENT, last_line, overridden, run
from tests.end_to_end.driver import Driver, driver, writer_of
from tests.end_to_end.kills import epochs
from tests.end_to_end.recorded import assert_the_same, lease

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]

SECONDS = 60.0
"""A third of the lease: it must be renewed in between, or afterwards by who was stopped."""

NAME = "pairs-001"
KINDS = {
    "one worker per trial": ["search.trials=4", "training.epochs=20", "compute.slots=2"],
    "two workers per trial": [
        "search.trials=2",
        "training.epochs=12",
        "compute.slots=1",
        "compute.workers=2",
    ],
}
Choice = Callable[[Driver], list[psutil.Process]]
WHO: dict[str, tuple[str, Choice]] = {
    "the driver": ("one worker per trial", lambda driver: [psutil.Process(driver.process.pid)]),
    "a slot": ("one worker per trial", lambda driver: driver.processes("ray::Trial")[:1]),
    "a worker": ("two workers per trial", lambda driver: driver.processes("ray::RayTrainWorker")[:1]),
    "driver and writer": (
        "one worker per trial",
        lambda driver: [psutil.Process(driver.process.pid), writer_of(driver)],
    ),
}


def search(kind: str) -> list[str]:
    return ["search", "experiment.yaml", *overridden(KINDS[kind])]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder by kind in which the same search was left in peace."""
    folders = {}
    for number, kind in enumerate(KINDS):
        folders[kind] = tmp_path_factory.mktemp(f"undisturbed-{number}")
        (folders[kind] / "experiment.yaml").write_text(EXPERIMENT)
        last_line(run(folders[kind], *search(kind), "--json"))
    return folders


@pytest.mark.parametrize("who", WHO)
def test_a_search_of_which_a_part_was_stopped_is_the_undisturbed_one(
    who: str, tmp_path: Path, undisturbed: dict[str, Path]
) -> None:
    kind, chosen = WHO[who]
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)

    def has_a_lease(driver: Driver) -> bool:
        return epochs(driver.run) >= 4 and lease(tmp_path) > 0

    with driver(tmp_path, NAME, *search(kind)) as going:
        assert going.wait_for(has_a_lease)
        stopped, began = chosen(going), time.monotonic()
        assert stopped
        for process in stopped:
            process.suspend()
        try:
            assert_nobody_takes_it(tmp_path, going)
            before = epochs(going.run)
            time.sleep(max(0.0, began + SECONDS - time.monotonic()))  # how long it is stopped is the subject
            if who != "a slot":
                assert epochs(going.run) == before
            if (
                who != "driver and writer"
            ):  # a stopped writer renews nothing, and may hold the database's lock
                assert lease(tmp_path) > time.time()
        finally:
            for process in stopped:
                process.resume()
        assert going.wait_for(lambda _: lease(tmp_path) > time.time() + LEASE_SECONDS / 2)
        assert going.finish() == 0
    assert "Traceback" not in (tmp_path / "printed.txt").read_text()
    assert_the_same([tmp_path, undisturbed[kind]], NAME)


def assert_nobody_takes_it(folder: Path, going: Driver) -> None:
    """Neither a second driver nor the doctor, who closes what nobody conducts."""
    size = (going.run / "journal.jsonl").stat().st_size
    refused = run(folder, "resume")
    assert refused.returncode == 5
    assert f"error: {NAME} is conducted by process {going.process.pid} on " in refused.stderr
    assert "hint: Let it finish, or stop it with Ctrl-C (SIGINT) and resume then." in refused.stderr
    assert "Traceback" not in refused.stderr
    assert '"code": "runs", "status": "ok"' in run(folder, "doctor", "--fix", "--json").stdout
    assert (going.run / "journal.jsonl").stat().st_size >= size
