"""What becomes of a proposal: a trial, or a sentence that says why it is none. The search goes on either way."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.datasets import Datasets
from orchestrator.spec import ExperimentSpec, parse_spec
from orchestrator.tuning.proposals import prepare_trial
from orchestrator.tuning.trainable import TrialTrainable
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData, load_prepared

TEXT = """\
name: small
data: {source: "builtin:digits-pair"}
tasks:
  left: {type: multiclass, label: left}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EQUIPOISE_CACHE", str(folder))
    return folder


def prepared(spec: ExperimentSpec, values: dict[str, Any], directory: Path) -> dict[str, Any]:
    """As it goes to a slot, by way of the journal."""
    found: dict[str, Any] = json.loads(json.dumps(prepare_trial(spec, Datasets(spec), values, directory)))
    if "problem" in found:
        assert found.keys() == {"config", "problem"}
        assert "\n" not in found["problem"]
        assert "pydantic" not in found["problem"]
    return found


def test_a_proposal_that_makes_a_trial(tmp_path: Path) -> None:
    found = prepared(parse_spec(TEXT), {"training.epochs": 3}, tmp_path / "t000")
    assert found.keys() == {"config", "data"}
    assert TrialConfig.model_validate(found["config"]).training.epochs == 3
    assert load_prepared(Path(found["data"])).splits["train"].size


@pytest.mark.parametrize(
    ("values", "said", "epochs"),
    [
        ({"training.epochs": 0}, "training.epochs: ", 0),
        (
            {"training.epochs": 7, "model.backbone": "resnet18", "model.backbone.width": 8},
            "model.backbone is",
            None,
        ),
        ({"data.source": "builtin:nothing", "training.epochs": 7}, "no builtin dataset 'nothing'", 7),
    ],
)
def test_a_proposal_that_makes_none_is_said_in_a_sentence(
    values: dict[str, Any], said: str, epochs: int | None, tmp_path: Path
) -> None:
    found = prepared(parse_spec(TEXT), values, tmp_path / "t000")
    assert said in found["problem"]
    assert found["config"].get("training", {}).get("epochs") == epochs
    assert not (tmp_path / "t000").exists()


def test_a_cache_that_cannot_be_written_is_this_trials_failure_as_well(tmp_path: Path, cache: Path) -> None:
    cache.write_text("")
    found = prepared(parse_spec(TEXT), {"training.epochs": 3}, tmp_path / "t000")
    assert "cannot be written: Not a directory" in found["problem"]
    assert found["config"]["training"]["epochs"] == 3


class TooLarge(Datasets):
    def of(self, config: TrialConfig) -> PreparedData:
        raise MemoryError("Unable to allocate 9 TiB")


def test_so_is_what_nobody_foresaw(tmp_path: Path) -> None:
    spec = parse_spec(TEXT)
    found = prepare_trial(spec, TooLarge(spec), {}, tmp_path / "t000")
    report = tmp_path / "t000" / "error.txt"
    assert found["problem"] == f"MemoryError: Unable to allocate 9 TiB (traceback in {report})"
    assert "Traceback" in report.read_text()


def test_the_slot_tells_it_and_stays(tmp_path: Path) -> None:
    config = {"trial": "t000", "slot": {"workers": 1, "cpus": 1, "gpus": 0}, "seconds_at_once": 0.0}
    spec = parse_spec(TEXT)
    trainable = TrialTrainable(config | prepared(spec, {"training.epochs": 0}, tmp_path))
    result = trainable.step()
    assert (result["done"], result["epochs"]) == (True, [])
    assert result["failure"].startswith("training.epochs: ")
    directory = {"directory": str(tmp_path / "t001")}
    good = prepared(spec, {"training.epochs": 1, "training.batch_size": 2048}, tmp_path)
    assert trainable.reset_config(config | directory | {"trial": "t001"} | good)
    assert trainable.step()["epoch"] == 1
    trainable.cleanup()
