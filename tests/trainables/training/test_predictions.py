"""The predictions beside the selected model are those that its metrics were measured on."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainables.synthetic import prepared, trial
from trainables.data.prepared import PreparedData, TaskLabels
from trainables.training.predictions import FILE, Predictions
from trainables.training.trainer import Trainer
from trainables.training.world import World


def trained(data: PreparedData, epochs: int = 3) -> Trainer:
    config = trial(training={"epochs": epochs, "batch_size": 32, "optimizer": {"name": "adam", "lr": 1e-2}})
    trainer = Trainer(config, data, World.single())
    for _ in range(epochs):
        trainer.run_epoch()
    return trainer


def labels_of(data: PreparedData, task: str) -> TaskLabels:
    rows = data.splits["val"]
    return TaskLabels(data.labels[task].values[rows], data.labels[task].present[rows])


@pytest.mark.parametrize("labelled", [1.0, 0.6])
def test_they_give_the_metrics_of_the_selected_epoch(tmp_path: Path, labelled: float) -> None:
    data = prepared(labelled=labelled)
    trainer = trained(data)
    trainer.save_best(tmp_path / "best")
    found = Predictions.load(tmp_path / "best")
    state = trainer.best_state()
    assert found.epoch == state.meta["epoch"]
    for task, own in found.tasks.items():
        labels = labels_of(data, task)
        metrics = state.meta["metrics"]
        assert np.nanmean(own.surprise) == pytest.approx(metrics[f"{task}.loss"], abs=1e-5)
        assert np.isnan(own.surprise).tolist() == (~labels.present).tolist()
        right = (own.predicted == labels.values)[labels.present]
        assert right.mean() == pytest.approx(metrics[f"{task}.accuracy"], abs=1e-6)
        assert own.confidence.min() > 0
        assert own.confidence.max() <= 1
        assert not own.wrong(labels)[~labels.present].any()


def test_a_resumed_trainer_leaves_the_file_of_before_alone(tmp_path: Path) -> None:
    data = prepared()
    trainer = trained(data)
    trainer.save_best(tmp_path / "best")
    written = (tmp_path / "best" / FILE).read_bytes()
    resumed = Trainer(trainer.config, data, World.single())
    resumed.load_state_dict(trainer.state_dict())
    resumed.save_best(tmp_path / "best")
    assert (tmp_path / "best" / FILE).read_bytes() == written
    resumed.save_best(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / FILE).exists()


def test_a_flipped_bit_is_said(tmp_path: Path) -> None:
    trained(prepared(), epochs=1).save_best(tmp_path)
    Predictions.load(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
    with pytest.raises(ValueError, match="cannot be read: what it holds is not what was written"):
        Predictions.load(tmp_path)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read"):
        Predictions.load(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        Predictions.load(tmp_path / "nowhere")
