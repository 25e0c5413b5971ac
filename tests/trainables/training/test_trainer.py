import math

import pytest
import torch

from tests.trainables.synthetic import prepared, trial
from trainables.training.errors import TrainingError
from trainables.training.report import EpochReport
from trainables.training.trainer import Trainer
from trainables.training.world import World


def run(trainer: Trainer, epochs: int) -> list[EpochReport]:
    return [trainer.run_epoch() for _ in range(epochs)]


def test_a_training_learns_and_says_so() -> None:
    trainer = Trainer(
        trial(training={"epochs": 12, "batch_size": 16, "optimizer": {"name": "adam", "lr": 1e-2}}),
        prepared(),
        World.single(),
    )
    reports = [trainer.run_epoch() for _ in range(12)]
    assert [r.epoch for r in reports] == list(range(1, 13))
    assert [r.finished for r in reports] == [False] * 11 + [True]
    first, last = reports[0], reports[-1]
    for task in ("shape", "bright", "marks"):
        assert last.training[f"{task}.train_loss"] < first.training[f"{task}.train_loss"]
        assert last.training[f"{task}.labels_seen"] == 90
    assert last.metrics["shape.accuracy"] > 0.8
    means = [last.metrics[f"{task}.accuracy"] for task in ("shape", "bright", "marks")]
    assert last.metrics["score"] == pytest.approx(sum(means) / 3)


def test_best_means_one_epoch() -> None:
    config = trial(training={"epochs": 4, "select": {"metric": "shape.loss", "mode": "min"}})
    trainer = Trainer(config, prepared(), World.single())
    reports = [trainer.run_epoch() for _ in range(4)]
    wanted = min(reports, key=lambda r: r.metrics["shape.loss"])
    assert [r.best for r in reports if r.epoch >= wanted.epoch] == [True] + [False] * (4 - wanted.epoch)
    state = trainer.best_state()
    assert state.meta["epoch"] == wanted.epoch
    assert state.meta["metrics"] == wanted.metrics


def test_what_selects_must_be_measured() -> None:
    config = trial(training={"select": {"metric": "shapes.accuracy"}})
    with pytest.raises(TrainingError, match=r"shape\.accuracy"):
        Trainer(config, prepared(), World.single())


def test_a_diverging_loss_is_named() -> None:
    config = trial(training={"epochs": 3, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 1e30}})
    trainer = Trainer(config, prepared(), World.single())
    with pytest.raises(TrainingError, match=r"step \d+ of epoch \d.*lr|not finite after epoch"):
        run(trainer, 3)


def test_same_config_same_numbers_and_no_global_generator_moves() -> None:
    before = torch.get_rng_state()
    states = []
    for _ in range(2):
        trainer = Trainer(trial(), prepared(), World.single())
        trainer.run_epoch()
        states.append(trainer.state_dict())
    assert states[0].tensors.keys() == states[1].tensors.keys()
    for name, tensor in states[0].tensors.items():
        assert torch.equal(tensor, states[1].tensors[name]), name
    assert torch.equal(before, torch.get_rng_state())


def test_a_task_without_any_label_is_left_alone() -> None:
    data = prepared()
    data.labels["bright"].present[:] = False
    trainer = Trainer(trial(), data, World.single())
    report = trainer.run_epoch()
    assert math.isnan(report.metrics["bright.accuracy"])
    assert math.isnan(report.training["bright.train_loss"])
    others = [report.metrics["shape.accuracy"], report.metrics["marks.accuracy"]]
    assert report.metrics["score"] == pytest.approx(sum(others) / 2)
