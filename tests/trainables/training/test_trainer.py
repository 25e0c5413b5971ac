import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.synthetic import prepared, trial
from trainables.errors import TrainingError
from trainables.training.ema import WeightAverage
from trainables.training.evaluate import evaluation_batch
from trainables.training.report import EpochReport
from trainables.training.schedule import lr_factor
from trainables.training.trainer import Trainer
from trainables.training.world import World


def run(trainer: Trainer, epochs: int) -> list[EpochReport]:
    return [trainer.run_epoch() for _ in range(epochs)]


def test_want_of_memory_is_said_with_what_needs_less() -> None:
    greedy = {"backbone": "tests.contracts.nets:greedy"}
    trainer = Trainer(trial(model=greedy, training={"batch_size": 24}), prepared(), World.single())
    with pytest.raises(TrainingError) as caught:
        trainer.run_epoch()
    assert caught.value.message == f"Out of memory on cpu: {4 * 2**50} bytes more could not be had."
    assert "A worker takes 24 of the 24 images of a batch: with more workers" in caught.value.hint
    assert caught.value.key == "training.batch_size"


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


@pytest.mark.parametrize("task", ["shape", "bright", "marks"])
@pytest.mark.parametrize("spoilt", [2, 4])
def test_a_task_whose_loss_is_no_number_is_named_with_its_step_and_learning_rate(
    task: str, spoilt: int
) -> None:
    """Of one task among healthy ones, at the very step at which it happens: parameters never get that far."""
    optimizer, schedule = {"name": "adam", "lr": 4e-3}, {"name": "cosine", "warmup": 0.25}
    config = trial(training={"epochs": 3, "batch_size": 15, "optimizer": optimizer, "schedule": schedule})
    data = prepared()
    steps = len(data.splits["train"]) // 15
    trainer = Trainer(config, data, World.single())
    trainer.run_epoch()
    head = trainer.model.heads[f"task_{task}"]
    calls = 0

    def spoil(_module: nn.Module, _inputs: object, outputs: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return outputs * math.nan if calls == spoilt else outputs

    head.register_forward_hook(spoil)
    with pytest.raises(TrainingError) as caught:
        trainer.run_epoch()
    lr = 4e-3 * lr_factor(config.training.schedule, steps + spoilt - 1, steps, 3)
    said = f"The loss of task {task} is not a number at step {spoilt} of epoch 2 (lr {lr:.3g})."
    assert caught.value.message == said
    assert caught.value.key == "training.optimizer.lr"


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


def test_labels_that_are_masked_change_nothing() -> None:
    states = []
    for noise in (0, 1):
        data = prepared(labelled=0.5)
        for labels in data.labels.values():
            labels.values[~labels.present] = noise
        trainer = Trainer(trial(), data, World.single())
        report = trainer.run_epoch()
        states.append((trainer.state_dict(), report.metrics))
    (ours, our_metrics), (theirs, their_metrics) = states
    assert our_metrics == their_metrics
    assert all(torch.equal(tensor, theirs.tensors[name]) for name, tensor in ours.tensors.items())


def test_the_order_of_tasks_does_not_matter() -> None:
    states = []
    for tasks in (("shape", "bright", "marks"), ("marks", "shape", "bright")):
        config = trial(tasks=tasks, training={"epochs": 2, "batch_size": 20, "precision": "fp64"})
        trainer = Trainer(config, prepared(), World.single())
        reports = run(trainer, 2)
        states.append((trainer.state_dict(), reports[-1].metrics))
    (ours, our_metrics), (theirs, their_metrics) = states
    assert our_metrics == pytest.approx(their_metrics, abs=1e-12)
    for name, tensor in ours.tensors.items():
        assert torch.allclose(tensor, theirs.tensors[name], atol=1e-12), name


def test_early_stop_waits_for_its_patience() -> None:
    training = {
        "epochs": 50,
        "early_stop": {"patience": 3},
        "select": {"metric": "shape.loss", "mode": "max"},
    }
    trainer = Trainer(trial(training=training), prepared(), World.single())
    reports = [trainer.run_epoch()]
    while not reports[-1].finished:
        reports.append(trainer.run_epoch())
    assert reports[-1].epoch < 50
    assert reports[-1].epoch - trainer.best_state().meta["epoch"] == 3


def test_the_moving_average_is_what_is_measured_and_kept() -> None:
    trainer = Trainer(trial(training={"epochs": 1, "batch_size": 16, "ema": 0.5}), prepared(), World.single())
    report = trainer.run_epoch()
    best = trainer.best_state()
    raw = trainer.model.state_dict()
    assert any(not torch.equal(tensor, raw[name]) for name, tensor in best.tensors.items())
    trainer.model.load_state_dict(best.tensors)
    assert trainer.validate() == report.metrics


def test_a_task_without_any_label_is_left_alone() -> None:
    data = prepared()
    data.labels["bright"].present[:] = False
    trainer = Trainer(trial(), data, World.single())
    report = trainer.run_epoch()
    assert math.isnan(report.metrics["bright.accuracy"])
    assert math.isnan(report.training["bright.train_loss"])
    others = [report.metrics["shape.accuracy"], report.metrics["marks.accuracy"]]
    assert report.metrics["score"] == pytest.approx(sum(others) / 2)


def test_statistics_that_are_not_finite_are_noticed() -> None:
    model = {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}}
    trainer = Trainer(trial(model=model), prepared(), World.single())
    statistics = dict(trainer.model.named_buffers())
    next(b for name, b in statistics.items() if name.endswith("running_var")).fill_(math.inf)
    with pytest.raises(TrainingError, match="statistics of the model are not finite"):
        trainer.run_epoch()


def test_outputs_that_are_not_finite_are_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    trainer = Trainer(trial(), prepared(), World.single())
    with torch.no_grad():
        next(trainer.model.heads["task_bright"].parameters()).fill_(math.nan)
    metrics = trainer.validate()
    assert math.isnan(metrics["bright.accuracy"])
    assert math.isnan(metrics["bright.loss"])
    assert math.isnan(metrics["score"])  # leaving a broken task out would make the score better
    assert not math.isnan(metrics["shape.accuracy"])
    assert "outputs of the model are not finite" in caplog.text
    assert "alike" not in caplog.text


def test_a_broken_average_is_no_warning_about_labels() -> None:
    """Loss of the whole split: a number or nan, never infinite, which `mode: max` would select."""
    trainer = Trainer(trial(), prepared(), World.single())
    with torch.no_grad():
        next(trainer.model.heads["task_bright"].parameters()).fill_(math.inf)
    assert math.isnan(trainer.validate()["bright.loss"])


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 3)
        self.second = self.first


def test_tied_parameters_are_averaged_and_restored_once() -> None:
    model = Tied()
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.first.weight.add_(1)
    raw = model.first.weight.clone()
    average.update()
    with average.in_place_of_weights():
        assert not torch.equal(model.first.weight, raw)
    assert torch.equal(model.first.weight, raw)
    again = WeightAverage(model, 0.5)
    again.load_state_dict({name: t.clone() for name, t in model.state_dict().items()}, 3)
    assert torch.equal(again.tensors["first.weight"], raw)


def test_large_images_are_validated_in_small_parts() -> None:
    single = World.single()
    assert evaluation_batch((28, 28), 32, single) == 512
    assert evaluation_batch((224, 224), 16, single) == 41
    assert evaluation_batch((224, 224), 64, single) == 64
    worlds = [World(rank, 3, torch.device("cpu"), [0.2, 0.7, 0.1]) for rank in range(3)]
    assert {evaluation_batch((512, 512), 100, world) for world in worlds} == {70}


@pytest.mark.parametrize("sharing", ["hard", "mmoe", "cross_stitch"])
def test_a_kept_model_of_any_structure_is_where_another_begins(sharing: str, tmp_path: Path) -> None:
    data = prepared()
    donor = Trainer(trial(model={"sharing": {"kind": sharing}}, training={"epochs": 1}), data, World.single())
    donor.run_epoch()
    donor.save_best(tmp_path / "best")
    weights = str(tmp_path / "best" / "state.safetensors")
    later = Trainer(trial(model={"weights": weights, "sharing": {"kind": "film"}}), data, World.single())
    assert later.model.normalisation == (data.mean, data.std)
    ours, theirs = later.model.backbone_names(), donor.model.backbone_names()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(later.model.state_dict()[ours[name]], donor.model.state_dict()[theirs[name]])
