"""Stopping after any epoch and resuming is bit-identical to never having stopped."""

import contextlib
import dataclasses
import itertools
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contracts.methods import SECTIONS
from tests.contracts.structures import STRUCTURES
from tests.trainables.synthetic import of_several, prepared, several, trial
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData
from trainables.errors import ModelError, TrainingError
from trainables.training.report import EpochReport
from trainables.training.state import TrainState, load_model_state, load_state, save_state
from trainables.training.trainer import Trainer
from trainables.training.world import World

EPOCHS = 4
TRAINING: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 24, "optimizer": {"name": "adam", "lr": 5e-3}}
MLP = {"default": {"kind": "mlp", "hidden": [8], "dropout": 0.3}}

CASES: dict[str, dict[str, Any]] = {
    "adam": {},
    "fused Adam over channels_last in bf16": {
        "training": TRAINING | {"precision": "bf16"},
        "model": {"backbone": {"name": "lenet", "width": 8}},
    },
    "moving average, warm-up, clipping": {
        "training": TRAINING
        | {"ema": 0.9, "clip_norm": 0.1, "schedule": {"name": "cosine", "warmup": 0.3}, "precision": "bf16"},
        "model": {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}},
    },
    "sharpness-aware steps": {
        "training": TRAINING
        | {"optimizer": {"name": "adam", "lr": 5e-3, "sam": {"rho": 0.05, "adaptive": True}}, "ema": 0.9},
        "model": {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}, "heads": MLP},
    },
    "a slow backbone": {
        "training": TRAINING | {"optimizer": {"name": "sgd", "lr": 0.05, "backbone_lr_factor": 0.1}}
    },
    "a frozen backbone": {
        "training": TRAINING | {"optimizer": {"name": "adam", "lr": 5e-3, "backbone_lr_factor": 0}},
        "model": {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}},
    },
    "dropout": {"model": {"heads": MLP}},
    "augmentation": {"data": {"source": "synthetic", "augment": "strong"}},
    "early stop": {
        "training": TRAINING
        | {"early_stop": {"patience": 2}, "select": {"metric": "shape.loss", "mode": "max"}, "epochs": 10}
    },
    "momentum in fp64, step schedule": {
        "training": TRAINING
        | {
            "optimizer": {"name": "sgd", "lr": 0.05, "nesterov": True},
            "schedule": {"name": "step", "every": 1, "gamma": 0.5},
            "precision": "fp64",
        }
    },
}


def run(trainer: Trainer) -> list[EpochReport]:
    reports: list[EpochReport] = []
    while not reports or not reports[-1].finished:
        reports.append(trainer.run_epoch())
    return reports


def assert_resumes(config: TrialConfig, data: PreparedData, folder: Path) -> None:
    uninterrupted = Trainer(config, data, World.single())
    reports: list[EpochReport] = []
    checkpoints: list[Path] = []
    while not reports or not reports[-1].finished:
        reports.append(uninterrupted.run_epoch())
        checkpoints.append(folder / f"epoch{uninterrupted.epoch}")
        save_state(uninterrupted.state_dict(), checkpoints[-1])
    final, best = uninterrupted.state_dict(), uninterrupted.best_state()
    for done, checkpoint in enumerate(checkpoints[:-1], start=1):
        resumed = Trainer(config, data, World.single())
        resumed.load_state_dict(load_state(checkpoint))
        assert resumed.epoch == done
        for ours, theirs in zip(run(resumed), reports[done:], strict=True):
            assert same(ours.metrics, theirs.metrics)
            assert (ours.best, ours.finished, ours.epoch) == (theirs.best, theirs.finished, theirs.epoch)
        state = resumed.state_dict()
        assert state.meta == final.meta
        assert state.tensors.keys() == final.tensors.keys()
        for name, tensor in final.tensors.items():
            assert torch.equal(state.tensors[name], tensor), (done, name)
        assert resumed.best_state().meta == best.meta
        for name, tensor in best.tensors.items():
            assert torch.equal(resumed.best_state().tensors[name], tensor), (done, name)


def same(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    return ours.keys() == theirs.keys() and all(
        value == theirs[name] or (math.isnan(value) and math.isnan(theirs[name]))
        for name, value in ours.items()
    )


@pytest.mark.parametrize("method", SECTIONS)
def test_resuming_changes_nothing_for_any_method(method: str, tmp_path: Path) -> None:
    config = trial(balancing=SECTIONS[method], training=TRAINING)
    assert_resumes(config, prepared(train=60, val=20, labelled=0.6), tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_resuming_changes_nothing(name: str, tmp_path: Path) -> None:
    config = trial(**{"training": TRAINING} | CASES[name])
    assert_resumes(config, prepared(train=60, val=20, labelled=0.6), tmp_path)


@pytest.mark.parametrize("mixing", ["uniform", {"few": 1, "many": 5}])
def test_resuming_changes_nothing_for_mixed_sources(mixing: Any, tmp_path: Path) -> None:
    config = trial(training=TRAINING, data=several("light", mixing))
    assert_resumes(config, of_several(prepared(train=60, val=20, labelled=0.6)), tmp_path)


@pytest.mark.parametrize("name", STRUCTURES)
def test_resuming_changes_nothing_for_any_structure(name: str, tmp_path: Path) -> None:
    config = trial(training=TRAINING | {"epochs": 2}, model=STRUCTURES[name])
    assert_resumes(config, prepared(train=48, val=10, labelled=0.6), tmp_path)


@pytest.mark.parametrize("sharing", ["hard", "cross_stitch"])
def test_resuming_needs_no_initial_weights(sharing: str, tmp_path: Path) -> None:
    """Those of a model that read colours and expects inputs of its own."""
    donor = Trainer(trial(training=TRAINING), prepared(channels=3, seed=4), World.single())
    donor.run_epoch()
    donor.save_best(tmp_path / "donor")
    weights = tmp_path / "donor" / "state.safetensors"
    config = trial(training=TRAINING, model={"weights": str(weights), "sharing": {"kind": sharing}})
    data = prepared(train=60, val=20)
    uninterrupted = Trainer(config, data, World.single())
    uninterrupted.run_epoch()
    save_state(uninterrupted.state_dict(), tmp_path / "state")
    expected = run(uninterrupted)
    weights.unlink()
    resumed = Trainer(config, data, World.single(), state=load_state(tmp_path / "state"))
    assert (resumed.epoch, resumed.model.channels) == (1, 3)
    assert [report.metrics for report in run(resumed)] == [report.metrics for report in expected]
    assert resumed.state_dict().meta == uninterrupted.state_dict().meta
    assert resumed.best_state().meta == uninterrupted.best_state().meta
    for name, tensor in uninterrupted.state_dict().tensors.items():
        assert torch.equal(resumed.state_dict().tensors[name], tensor), name
    with pytest.raises(ModelError) as caught:
        Trainer(config, data, World.single())
    assert str(caught.value) == f"The weights {weights} are not there. Bring them back, or name others."


def test_best_model_survives_the_disk(tmp_path: Path) -> None:
    trainer = Trainer(trial(training=TRAINING), prepared(), World.single())
    run(trainer)
    best = trainer.best_state()
    save_state(best, tmp_path / "best")
    save_state(best, tmp_path / "best")  # replaces itself
    read = load_model_state(tmp_path / "best")
    assert read.meta == best.meta
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in best.tensors.items())
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(trial(training=TRAINING), prepared(), World.single())
    trainer.run_epoch()
    state = trainer.state_dict()
    state.meta["not JSON"] = object()
    with pytest.raises(TypeError):
        save_state(state, tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    trainer = Trainer(trial(training=TRAINING), prepared(), World.single())
    trainer.run_epoch()
    save_state(trainer.state_dict(), tmp_path / "state")
    file = tmp_path / "state" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        load_state(tmp_path / "state")


def test_another_environment_is_told(caplog: pytest.LogCaptureFixture) -> None:
    trainer = Trainer(trial(training=TRAINING), prepared(), World.single())
    trainer.run_epoch()
    state = trainer.state_dict()
    state.meta["environment"]["threads"] = 77
    trainer.load_state_dict(state)
    assert "threads" in caplog.text
    assert "77" in caplog.text


@pytest.mark.parametrize("method", [m for m in SECTIONS if m != "famo"])
def test_the_state_of_another_method_says_nothing(method: str) -> None:
    """Population-based training may change the method: model and optimizer go on, the new method begins."""
    data = prepared(train=60, val=20)
    other = Trainer(trial(training=TRAINING, balancing=SECTIONS[method]), data, World.single())
    other.run_epoch()
    taken = Trainer(trial(training=TRAINING, balancing=SECTIONS["famo"]), data, World.single())
    fresh = {name: tensor.clone() for name, tensor in taken.balancer.state_dict().items()}
    taken.load_state_dict(other.state_dict())
    assert all(torch.equal(taken.balancer.state_dict()[name], tensor) for name, tensor in fresh.items())
    assert taken.epoch == 1
    taken.run_epoch()


def test_other_data_are_refused(tmp_path: Path) -> None:
    config = trial(training=TRAINING)
    state = Trainer(config, prepared(), World.single()).state_dict()
    other = Trainer(config, dataclasses.replace(prepared(), digest="other"), World.single())
    with pytest.raises(TrainingError, match=r"data have changed.*start a new run"):
        other.load_state_dict(state)


@pytest.mark.parametrize("function", ["fsync", "mkdir", "replace", "rename", "rmdir"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_state_survives_death_while_it_is_replaced(
    function: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the process did last, there is the old state or the new one."""
    old, new = (TrainState({"x": torch.full((3,), number)}, {"epoch": number}) for number in (1.0, 2.0))
    save_state(old, tmp_path / "last")
    calls = itertools.count(1)
    real = getattr(os, function)

    def dies(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise SystemExit
        return real(*arguments, **named)

    with monkeypatch.context() as patched, contextlib.suppress(SystemExit):
        patched.setattr(os, function, dies)
        save_state(new, tmp_path / "last")
    read = load_state(tmp_path / "last")
    assert read.tensors["x"].tolist() == [read.meta["epoch"]] * 3
