"""N workers = 1 worker: the same global batch makes the same step, whatever each worker sees of it.

A method, backbone or head joins by a line in one of the tables.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.contracts.group import Group
from tests.contracts.methods import SECTIONS
from tests.contracts.structures import STRUCTURES
from tests.trainables.synthetic import of_several, prepared, several, trial
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData
from trainables.model import backbones, multitask
from trainables.training import precision
from trainables.training.batches import epoch_order
from trainables.training.probe import measure_conflicts
from trainables.training.report import EpochReport
from trainables.training.trainer import Trainer
from trainables.training.world import World

MODELS: dict[str, dict[str, Any]] = {
    "small_cnn": {"backbone": {"name": "small_cnn", "width": 8}},
    "dropout": {
        "backbone": {"name": "small_cnn", "width": 8},
        "heads": {"default": {"kind": "mlp", "hidden": [8], "dropout": 0.3}},
    },
    "batch_norm": {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}},
    "stochastic_depth": {"backbone": "tests.contracts.nets:residual"},
    "everything": {
        "backbone": {"name": "tests.contracts.nets:residual", "arguments": {"batch_norm": True}},
        "heads": {"default": {"kind": "mlp", "hidden": [8], "dropout": 0.3}},
    },
    **STRUCTURES,
}

EPOCHS = 5  # of 4 steps
BATCH = 24
WORKERS: tuple[tuple[int, list[float] | None], ...] = ((1, None), (2, [0.35, 0.65]), (3, [0.5, 0.2, 0.3]))
"""How many, and their shares of every batch."""


def case(model: str, method: str, **sections: Any) -> tuple[TrialConfig, PreparedData]:
    """15 % of labels."""
    data = prepared(train=91, val=30, labelled=0.15, side=10)
    config = trial(
        model=MODELS[model],
        balancing=SECTIONS[method],
        training={
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "precision": "fp64",
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
            **sections.pop("training", {}),
        },
        **sections,
    )
    return config, data


def train(
    world: World, config: TrialConfig, data: PreparedData
) -> tuple[dict[str, Tensor], list[EpochReport]]:
    trainer = Trainer(config, data, world)
    reports = [trainer.run_epoch() for _ in range(config.training.epochs)]
    return trainer.state_dict().tensors, reports


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    assert ours.keys() == theirs.keys()
    return {
        name: (ours[name].double() - theirs[name].double()).abs().max().item() if ours[name].numel() else 0.0
        for name in ours
    }


def assert_same_training(group: Group, config: TrialConfig, data: PreparedData) -> None:
    alone, reports = train(World.single(), config, data)
    for workers, shares in WORKERS:
        results = group.run(workers, train, config, data, shares=shares)
        for tensors, their_reports in results:
            worst = differences(alone, tensors)
            assert max(worst.values()) < 1e-6, (workers, max(worst, key=lambda name: worst[name]))
            for ours, theirs in zip(reports, their_reports, strict=True):
                for name, value in ours.metrics.items():
                    assert theirs.metrics[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
                for name in (n for n in ours.training if n != "images_per_second"):
                    expected = pytest.approx(ours.training[name], abs=1e-9, nan_ok=True)
                    assert theirs.training[name] == expected, name
        first = results[0][0]
        assert all(torch.equal(first[name], other[name]) for other, _ in results for name in first)


@pytest.mark.parametrize("method", SECTIONS)
def test_every_method(group: Group, method: str) -> None:
    assert_same_training(group, *case("small_cnn", method))


def keep_from_the_first_worker(config: TrialConfig, data: PreparedData, task: str = "bright") -> None:
    """Only those rows have a label of `task` that come, in every epoch of one step, to other workers than the first."""
    orders = [epoch_order(91, config.seed, epoch).numpy() for epoch in range(config.training.epochs)]
    firsts = [World(0, size, torch.device("cpu"), shares).part(91)[1] for size, shares in WORKERS if size > 1]
    seen = np.unique(np.concatenate([order[: max(firsts)] for order in orders]))
    present = data.labels[task].present
    present[:91] = True
    present[seen] = False
    assert present[:91].sum() >= 3
    for order in orders:
        for first in firsts:
            assert not present[order[:first]].any()
            assert present[order[first:]].any()


@pytest.mark.slow
@pytest.mark.parametrize("method", SECTIONS)
def test_every_method_with_everything_at_once(group: Group, method: str) -> None:
    """Batch normalisation, dropout, stochastic depth, augmentation, and a task that one worker never sees."""
    augmented = {"source": "synthetic", "augment": "light"}
    config, data = case("everything", method, data=augmented, training={"batch_size": 91, "epochs": 4})
    keep_from_the_first_worker(config, data)
    assert_same_training(group, config, data)


@pytest.mark.parametrize("model", [m for m in MODELS if m != "small_cnn" and m not in STRUCTURES])
def test_every_kind_of_layer(group: Group, model: str) -> None:
    assert_same_training(group, *case(model, "static"))


@pytest.mark.parametrize("method", ["static", "pcgrad"])
def test_activations_that_are_computed_again(group: Group, method: str) -> None:
    assert_same_training(group, *case("everything", method, training={"recompute": True}))


@pytest.mark.parametrize("model", STRUCTURES)
def test_every_structure_and_head(group: Group, model: str) -> None:
    assert_same_training(group, *case(model, "static", training={"epochs": 1}))


@pytest.mark.parametrize("method", ["pcgrad", "mgda at features", "graddrop at features", "gradnorm"])
@pytest.mark.parametrize("model", ["mtan", "mmoe", "fused stages"])
def test_methods_of_gradients_in_structures_that_share_features(
    group: Group, model: str, method: str
) -> None:
    assert_same_training(group, *case(model, method, training={"epochs": 1}))


@pytest.mark.parametrize("model", ["branching by task", "cross_stitch", "ple", "film", "different stages"])
def test_methods_of_gradients_in_structures_that_share_none(group: Group, model: str) -> None:
    assert_same_training(group, *case(model, "cagrad", training={"epochs": 1}))


def test_moving_average_clipping_class_weights_and_schedule(group: Group) -> None:
    config, data = case(
        "batch_norm",
        "static",
        tasks={
            "shape": {
                "type": "multiclass",
                "label": "s",
                "class_weights": "balanced",
                "label_smoothing": 0.1,
            },
            "bright": {"type": "binary", "label": "b", "positive_weight": 3.0, "metrics": ["accuracy"]},
        },
        training={
            "ema": 0.9,
            "clip_norm": 0.5,
            "schedule": {"name": "cosine", "warmup": 0.2},
            "optimizer": {"name": "adamw", "lr": 1e-2},
        },
    )
    assert_same_training(group, config, data)


@pytest.mark.parametrize("method", ["static", "famo", "upgrad", "modo"])
def test_sharpness_aware_steps(group: Group, method: str) -> None:
    """The ascent is along the gradient of all workers together."""
    sam = {"rho": 0.1, "adaptive": method == "famo"}
    optimizer = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "sam": sam}
    assert_same_training(group, *case("everything", method, training={"optimizer": optimizer, "epochs": 3}))


@pytest.mark.parametrize("factor", [0, 0.1])
def test_a_frozen_or_slow_backbone(group: Group, factor: float) -> None:
    optimizer = {"name": "adam", "lr": 1e-2, "backbone_lr_factor": factor}
    assert_same_training(group, *case("everything", "uncertainty", training={"optimizer": optimizer}))


@pytest.mark.parametrize("structure", ["cross_stitch", "mtan", "mmoe", "film"])
def test_a_frozen_backbone_of_a_structure(group: Group, structure: str) -> None:
    """Its batch normalisation computes as in evaluation, what was added to it learns."""
    model = f"{structure} over batch normalisation"
    optimizer = {"name": "adam", "lr": 1e-2, "backbone_lr_factor": 0}
    assert_same_training(group, *case(model, "famo", training={"optimizer": optimizer, "epochs": 1}))


@pytest.mark.parametrize("method", ["mgda", "modo"])
def test_a_task_that_shares_nothing(group: Group, method: str) -> None:
    assert_same_training(group, *case("branching by task", method, training={"epochs": 2}))


def test_light_augmentation(group: Group) -> None:
    config, data = case("dropout", "static", data={"source": "synthetic", "augment": "light"})
    assert_same_training(group, config, data)


@pytest.mark.parametrize("mixing", ["proportional", "uniform", {"few": 2, "many": 3}])
def test_several_sources(group: Group, mixing: Any) -> None:
    config, data = case("dropout", "static", data=several("light", mixing))
    assert_same_training(group, config, of_several(data))


def test_a_task_that_one_worker_never_sees(group: Group) -> None:
    config, data = case("batch_norm", "static", training={"batch_size": 91, "epochs": 3})
    keep_from_the_first_worker(config, data)
    assert_same_training(group, config, data)


def test_more_workers_than_examples_in_the_last_batch(group: Group) -> None:
    data = prepared(train=26, val=2, side=10)
    config, _ = case("batch_norm", "static")
    assert_same_training(group, config, data)


def validate(world: World, config: TrialConfig, data: PreparedData) -> dict[str, float]:
    return Trainer(config, data, world).validate()


def assert_same_metrics(group: Group, metrics: tuple[str, ...]) -> None:
    tasks = {
        "shape": {"type": "multiclass", "label": "s", "metrics": metrics},
        "bright": {"type": "binary", "label": "b", "metrics": metrics},
        "marks": {"type": "multilabel", "label": "m", "metric": "accuracy", "metrics": metrics},
    }
    config, _ = case("batch_norm", "static", tasks=tasks)
    data = prepared(train=20, val=1100, labelled=0.5, side=10)  # several evaluation batches on each worker
    alone = validate(World.single(), config, data)
    assert len(alone) == 3 * (len(metrics) + 1) + 1
    for workers, shares in ((2, [0.1, 0.9]), (3, [0.4, 0.0, 0.6])):
        for measured in group.run(workers, validate, config, data, shares=shares):
            assert measured == pytest.approx(alone, abs=1e-12)


def test_metrics_over_workers(group: Group) -> None:
    assert_same_metrics(group, ("accuracy",))


@pytest.mark.slow
def test_all_metrics_over_workers(group: Group) -> None:
    assert_same_metrics(group, ("accuracy", "f1", "auroc", "average_precision", "ece"))


def diverge(world: World, config: TrialConfig, data: PreparedData) -> str:
    try:
        train(world, config, data)
    except Exception as error:  # its text is what is compared
        return f"{type(error).__name__}: {error}"
    return "trained"


def test_all_workers_agree_on_a_divergence(group: Group) -> None:
    config, data = case("small_cnn", "static", training={"optimizer": {"name": "sgd", "lr": 1e200}})
    said = group.run(3, diverge, config, data, shares=[0.9, 0.05, 0.05])
    assert len(set(said)) == 1
    assert said[0].startswith("TrainingError")


def begin(world: World, config: TrialConfig, data: PreparedData, able: list[bool]) -> tuple[Any, str]:
    original = backbones.build_backbone

    def build(*arguments: Any, **named: Any) -> backbones.Backbone:
        built = original(*arguments, **named)
        for p in built.net.parameters():
            p.data += world.rank  # as another CPU might
        return built

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(precision, "multiplies_bf16", lambda device: able[world.rank])
        patched.setattr(multitask, "build_backbone", build)
        trainer = Trainer(config, data, world)
    return trainer.model.state_dict(), trainer.precision.name


def test_workers_begin_alike(group: Group) -> None:
    config, data = case("batch_norm", "static", training={"precision": "auto"})
    for able, expected in (([True, True], "bf16"), ([True, False], "fp32"), ([False, True], "fp32")):
        (ours, name), (theirs, other) = group.run(2, begin, config, data, able)
        assert name == other == expected
        assert max(differences(ours, theirs).values()) == 0


def costs(world: World, config: TrialConfig, data: PreparedData) -> dict[str, float]:
    return Trainer(config, data, world).costs


def test_costs_of_the_model_are_measured_once_and_told_to_all(group: Group) -> None:
    one, other = group.run(2, costs, *case("everything", "static"))
    assert one == other


def measure(world: World, config: TrialConfig, data: PreparedData) -> np.ndarray:
    return measure_conflicts(config, data, world, epochs=2, every=2).cosines


def test_conflicts_are_measured_over_the_global_batch(group: Group) -> None:
    config, data = case("batch_norm", "static")
    alone = measure(World.single(), config, data)
    assert np.isfinite(alone).any()
    for found in group.run(3, measure, config, data, shares=[0.5, 0.2, 0.3]):
        assert np.allclose(found, alone, atol=1e-6, equal_nan=True)
