"""A slot as Tune sees it."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.tuning.trainable import TrialTrainable
from tests.orchestrator.slots.trials import assignment, not_finite, write_data
from trainables.training.state import load_model_state

EPOCHS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("trainable") / "data")


def told(data: Path, directory: Path, *, seconds_at_once: float, diverges: bool = False) -> list[Any]:
    """The results of a whole trial."""
    made = (not_finite if diverges else assignment)(data, directory)
    trainable = TrialTrainable(
        {
            "trial": made.trial,
            "config": made.config.model_dump(mode="json", by_alias=True),
            "data": str(data),
            "directory": str(directory),
            "slot": {"workers": 1, "cpus": 1, "gpus": 0},
            "seconds_at_once": seconds_at_once,
        }
    )
    results: list[Any] = []
    while not results or not results[-1]["done"]:
        results.append(trainable.step())
    trainable.cleanup()
    return results


def timeless(results: list[Any]) -> list[Any]:
    reports = [told["report"] for result in results for told in result["epochs"]]
    return [(report["epoch"], report["best"], report["finished"], report["metrics"]) for report in reports]


def test_short_epochs_told_together_are_those_told_one_by_one(data: Path, tmp_path: Path) -> None:
    one_by_one = told(data, tmp_path / "t000", seconds_at_once=0)
    together = told(data, tmp_path / "t001", seconds_at_once=1000)
    assert [len(result["epochs"]) for result in one_by_one] == [1] * EPOCHS
    assert [len(result["epochs"]) for result in together] == [EPOCHS]
    assert timeless(together) == timeless(one_by_one)
    ago = [epoch["ago"] for epoch in together[0]["epochs"]]
    assert ago == sorted(set(ago), reverse=True)
    assert ago[-1] >= 0
    assert together[0]["score"] == one_by_one[-1]["score"]


def test_the_selected_model_is_on_disk_when_the_last_epoch_is_told(data: Path, tmp_path: Path) -> None:
    (result,) = told(data, tmp_path / "t000", seconds_at_once=1000)
    selected = [epoch["report"] for epoch in result["epochs"] if epoch["report"]["best"]][-1]
    assert load_model_state(tmp_path / "t000/best").meta["metrics"] == selected["metrics"]


def test_a_failure_is_told_with_the_epochs_before_it(data: Path, tmp_path: Path) -> None:
    result = told(data, tmp_path / "t000", seconds_at_once=1000, diverges=True)[-1]
    assert "loss of task" in result["failure"]
    assert result["epochs"] == []
