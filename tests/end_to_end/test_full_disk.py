"""A disk becomes full while a search runs: what can go on does, what cannot says so, and nothing is lost."""

import fcntl
from pathlib import Path

import pytest

from orchestrator.report.search_log import read_search
from orchestrator.runs.journal import FILE_NAME
from orchestrator.tracking.state import LOCK_NAME, read_state
from tests.disks import full, small_disk, used
from tests.end_to_end.commands import EXPERIMENT, last_line, overridden, run
from tests.end_to_end.driver import Driver, driver, has_ended, writer_of
from tests.end_to_end.kills import epochs, wait_until
from tests.end_to_end.recorded import assert_the_same
from trainables.training.state import load_model_state

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

NAME = "pairs-001"
SETTINGS = [
    "search.trials=2",
    "search.space={training.optimizer.lr: {choice: [1e-3, 3e-3]}}",
    "training.epochs=40",
    "model.heads={default: {kind: mlp, hidden: [512]}}",
    "compute.slots=1",
]
SEARCH = ["search", "experiment.yaml", *overridden(SETTINGS)]
FOR_THE_JOURNAL = 1 << 16
"""Bytes in which the epochs of a trial can be recorded. A model needs twice as many."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the same search had all the room it wanted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    with driver(folder, NAME, *SEARCH) as going:
        assert going.wait_for(lambda driver: epochs(driver.run) >= 1)
        writer = writer_of(going)
        assert going.finish() == 0
    wait_until(lambda: has_ended(writer))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    return tmp_path


def printed(folder: Path) -> str:
    """What the commands of the folder said so far, on one line: the terminal has broken it somewhere."""
    return " ".join((folder / "printed.txt").read_text().split())


def resume(folder: Path) -> None:
    """Go on, now that there is room. The writer of before may look for it only half a minute later."""
    with driver(folder, NAME, "resume") as going:
        assert going.finish(seconds=250) == 0


def assert_refused(folder: Path, what: str) -> None:
    """A command ended with one sentence of what cannot be written, and what to do."""
    said = printed(folder)
    assert f"error: {folder}/equipoise_runs/{NAME}/{what} cannot be written: No space left on device" in said
    assert (
        "hint: Free some space, then go on with `equipoise resume`; what was written before is kept." in said
    )
    assert "Traceback" not in said


def assert_kept(folder: Path, undisturbed: Path) -> None:
    """The selected models are those of the undisturbed search."""
    for trial in ("t000", "t001"):
        one, other = (
            load_model_state(place / "equipoise_runs" / NAME / "trials" / trial / "best")
            for place in (folder, undisturbed)
        )
        assert one.meta["epoch"] == other.meta["epoch"]
        assert all(tensor.equal(other.tensors[name]) for name, tensor in one.tensors.items())


def test_without_room_for_models_a_trial_goes_on_and_says_so(folder: Path, undisturbed: Path) -> None:
    with small_disk(folder / "equipoise_runs", kilobytes=32_000) as disk:
        with driver(folder, NAME, *SEARCH) as going:
            assert going.wait_for(lambda driver: epochs(driver.run) >= 2)
            with full(disk, FOR_THE_JOURNAL):
                assert going.wait_for(lambda _: "cannot be kept" in printed(folder))
                reached = epochs(going.run)
                assert going.wait_for(lambda driver: epochs(driver.run) > reached)
            assert going.finish() == 0
        said = printed(folder)
        assert "goes on, but what it learns cannot be kept at present: " in said
        assert "cannot be written: No space left on device" in said
        assert "Traceback" not in said
        assert_the_same([folder, undisturbed], NAME)
        assert_kept(folder, undisturbed)


def test_a_trial_whose_model_cannot_be_kept_is_not_taken_for_a_complete_one(
    folder: Path, undisturbed: Path
) -> None:
    with small_disk(folder / "equipoise_runs", kilobytes=32_000) as disk:
        with driver(folder, NAME, *SEARCH) as going:
            assert going.wait_for(lambda driver: epochs(driver.run) >= 2)
            with full(disk, FOR_THE_JOURNAL):
                assert going.finish() == 1
        assert_refused(folder, "trials/t000/best")
        resume(folder)
        assert_the_same([folder, undisturbed], NAME)
        assert_kept(folder, undisturbed)


def test_without_room_for_the_journal_the_search_ends_and_a_resume_finishes_it(
    folder: Path, undisturbed: Path
) -> None:
    with small_disk(folder / "equipoise_runs", kilobytes=32_000) as disk:
        with driver(folder, NAME, *SEARCH) as going:
            assert going.wait_for(lambda driver: epochs(driver.run) >= 2)
            with full(disk):
                assert going.finish() == 1
                assert_refused(folder, FILE_NAME)
                again = run(folder, "resume")
                assert again.returncode == 1
                assert f"{FILE_NAME} cannot be written: No space left on device" in again.stderr
                assert "Traceback" not in again.stderr + again.stdout
                other = run(folder, *SEARCH)
                assert other.returncode == 1
                assert "hint: Free some space, or name another folder with tracking.storage." in other.stderr
                assert "Traceback" not in other.stderr + other.stdout
                assert [path.name for path in disk.glob("pairs-*")] == [NAME]
        resume(folder)
        assert_the_same([folder, undisturbed], NAME)
        assert_kept(folder, undisturbed)


def test_a_training_without_room_for_its_journal_has_not_failed(folder: Path) -> None:
    settings = ["training.epochs=60", "compute.workers=1"]
    train = ["train", "experiment.yaml", *overridden(settings)]
    with small_disk(folder / "equipoise_runs", kilobytes=32_000) as disk:
        with driver(folder, "pairs-train-001", *train) as going:
            assert going.wait_for(lambda driver: epochs(driver.run) >= 2)
            with full(disk):
                assert going.finish() == 1
        said = printed(folder)
        assert "pairs-train-001/journal.jsonl cannot be written: No space left on device hint: Free" in said
        assert "Traceback" not in said
        resume(folder)
        (trial,) = read_search(folder / "equipoise_runs" / "pairs-train-001").trials
        assert (trial.status, trial.epochs) == ("completed", 60)


def test_without_room_for_decoded_images_nothing_begins(folder: Path) -> None:
    with small_disk(folder / "cache", kilobytes=32_000) as disk:
        search = [*SEARCH, "-s", "data.cache=cache", "-s", "training.epochs=1"]
        with full(disk):
            refused = run(folder, *search)
        assert refused.returncode == 3
        assert (
            f"error: data.cache: The cache {disk} cannot be written: there is no space for the decoded images."
            in refused.stderr
        )
        assert (
            "hint: Free some, or name another folder with data.cache or $EQUIPOISE_CACHE." in refused.stderr
        )
        assert "Traceback" not in refused.stderr + refused.stdout
        assert used(disk) == 0
        assert not (folder / "equipoise_runs").exists()
        last_line(run(folder, *search, "--json"))


def attached(folder: Path) -> list[str]:
    """Names of the files that MLflow keeps; none is empty."""
    found = [path for path in (folder / "mlartifacts").rglob("*") if path.is_file()]
    assert all(path.stat().st_size for path in found)
    return sorted(path.name.partition("+")[0] for path in found)


TRACKED = [*SEARCH, "-s", "tracking.mlflow=sqlite:///told/mlflow.db"]


def everything_is_told(driver: Driver) -> bool:
    return read_state(driver.run).offset >= (driver.run / FILE_NAME).stat().st_size


def is_being_told(directory: Path) -> bool:
    """Whether a writer is at work, whoever started it."""
    with (directory / LOCK_NAME).open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def mlflow_is_away(driver: Driver) -> bool:
    return bool(read_state(driver.run).error)


def test_without_room_for_mlflow_the_search_goes_on_and_mlflow_is_told_later(
    folder: Path, undisturbed: Path
) -> None:
    with small_disk(folder / "told", kilobytes=32_000) as disk:
        with driver(folder, NAME, *TRACKED) as going:
            assert going.wait_for(lambda driver: read_state(driver.run).offset > 0)
            writer = writer_of(going)
            with full(disk):
                assert going.wait_for(mlflow_is_away)
                reached = epochs(going.run)
                assert going.wait_for(lambda driver: epochs(driver.run) > reached)
            assert going.finish() == 0
            wait_until(lambda: everything_is_told(going) and has_ended(writer))
        assert "Traceback" not in printed(folder)
        assert_the_same([folder, undisturbed], NAME, ("told/mlflow.db", "mlflow.db"))
        assert attached(disk) == attached(undisturbed)


def test_what_mlflow_had_no_room_for_is_told_by_a_resume(folder: Path, undisturbed: Path) -> None:
    with small_disk(folder / "told", kilobytes=32_000) as disk:
        with driver(folder, NAME, *TRACKED) as going:
            assert going.wait_for(lambda driver: read_state(driver.run).offset > 0)
            writer = writer_of(going)
            with full(disk):
                assert going.finish() == 0
                assert not everything_is_told(going)
                writer.kill()
        assert "not told everything yet; to finish: equipoise resume pairs-001" in printed(folder)
        assert run(folder, "resume", NAME).returncode == 0
        assert everything_is_told(going)
        wait_until(lambda: not is_being_told(going.run))
        assert attached(disk) == attached(undisturbed)
        assert_the_same([folder, undisturbed], NAME, ("told/mlflow.db", "mlflow.db"))
