"""An interrupted training goes on without the weights that it began from; one that has to begin asks for them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.report.records import SearchRecord
from orchestrator.resuming.resumption import resume
from orchestrator.runs.journal import Event
from orchestrator.slots import trial_run
from orchestrator.spec import parse_spec
from orchestrator.tracking import process
from orchestrator.training_run import train
from tests.end_to_end.commands import EXPERIMENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
DONOR = "pairs-train-001"


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage folder of a training that kept its model."""
    storage = tmp_path_factory.mktemp("donor")
    training("pairs", storage, "training.epochs=1")
    return storage


@pytest.fixture(autouse=True, scope="module")
def no_writer_stays() -> Iterator[None]:
    """MLflow's writer of an interrupted run waits for its parent's end, which is this process."""
    yield
    for writer in process._still_telling:
        writer.terminate()
        writer.wait()


@pytest.fixture
def storage(donor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(trial_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(trial_run, "LARGEST_SHARE", 1e9)
    return shutil.copytree(donor, tmp_path / "runs")


def training(name: str, storage: Path, *overrides: str, interrupted_after: str = "") -> SearchRecord | None:
    """Train, until an event of this kind happens; None if it did."""
    settings = [
        f"name={name}",
        f"tracking.storage={storage}",
        f"tracking.mlflow=sqlite:///{storage}/mlflow.db",
    ]
    spec = parse_spec(EXPERIMENT, overrides=[*settings, "compute.workers=1", *overrides])

    def interrupt(event: Event) -> None:
        if event["event"] == interrupted_after and event.get("report", {"epoch": 2})["epoch"] == 2:
            raise KeyboardInterrupt

    if not interrupted_after:
        return train(spec)
    with pytest.raises(KeyboardInterrupt):
        train(spec, listeners=(interrupt,))
    return None


def later(storage: Path, weights: str, *, interrupted_after: str = "") -> SearchRecord | None:
    return training(
        "later",
        storage,
        "training.epochs=4",
        f"model={{backbone: {{name: small_cnn, width: 16}}, weights: '{weights}'}}",
        interrupted_after=interrupted_after,
    )


@pytest.mark.parametrize("by", ["file", "run"])
def test_what_has_a_state_needs_the_weights_no_more(by: str, storage: Path) -> None:
    model = storage / DONOR / "trials" / "t000" / "best" / "state.safetensors"
    weights = str(model) if by == "file" else f"runs:/{DONOR}"
    undisturbed = later(storage, weights)
    assert undisturbed is not None
    later(storage, weights, interrupted_after="epoch")
    shutil.rmtree(storage / DONOR)
    resumed = resume(storage / "later-train-002")
    assert [trial.status for trial in resumed.trials] == ["completed"]
    assert [own["metrics"] for own in resumed.trials[0].reports] == [
        own["metrics"] for own in undisturbed.trials[0].reports
    ]


def test_what_has_none_says_so_and_can_be_resumed_when_they_are_back(storage: Path) -> None:
    later(storage, f"runs:/{DONOR}", interrupted_after="trial_started")
    (storage / DONOR).rename(storage / "elsewhere")
    with pytest.raises(ConfigError) as caught:
        resume(storage / "later-train-001")
    assert caught.value.message == (
        f"model.weights: runs:/{DONOR} is not there any more, and all that is left of later-train-001 begins from it."
    )
    (storage / "elsewhere").rename(storage / DONOR)
    assert [trial.status for trial in resume(storage / "later-train-001").trials] == ["completed"]
