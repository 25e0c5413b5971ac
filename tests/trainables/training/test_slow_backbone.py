"""A backbone that learns more slowly than the heads, or not at all."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.methods import SECTIONS
from tests.trainables.synthetic import prepared, trial
from trainables.config.trial import TrialConfig
from trainables.errors import TrainingError
from trainables.training.trainer import Trainer
from trainables.training.world import World

RESNET = {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}}
LOSS_METHODS = ("static", "equal", "uncertainty", "dwa", "geometric_mean", "imtl_l", "famo", "stch", "random")


def config(factor: float, method: str = "static", **optimizer: Any) -> TrialConfig:
    own = {"name": "sgd", "lr": 0.05, "momentum": 0.0, "backbone_lr_factor": factor, **optimizer}
    training = {"epochs": 2, "batch_size": 64, "optimizer": own, "precision": "fp64"}
    return trial(model=RESNET, balancing=SECTIONS.get(method, {"method": method}), training=training)


def moves(trainer: Trainer) -> dict[str, Tensor]:
    """How far everything in the model is from its beginning after one epoch."""
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.run_epoch()
    return {name: tensor - before[name] for name, tensor in trainer.model.state_dict().items()}


def test_the_first_step_of_a_slow_backbone_is_as_much_shorter() -> None:
    """One batch is one step: heads move as they do otherwise."""
    data = prepared(train=60, val=20)
    slow, plain = (moves(Trainer(config(factor), data, World.single())) for factor in (0.25, 1.0))
    for name in (n for n in plain if n.endswith(("weight", "bias"))):
        expected = plain[name] * (0.25 if name.startswith("backbone.") else 1)
        assert torch.allclose(slow[name], expected, atol=1e-15, rtol=1e-6), name


@pytest.mark.parametrize("method", LOSS_METHODS)
@pytest.mark.parametrize("sam", [None, {"rho": 0.05}])
def test_nothing_of_a_frozen_backbone_moves(method: str, sam: dict[str, float] | None) -> None:
    """Statistics of batch normalisation included; heads learn, and there is no optimizer state for the rest."""
    trainer = Trainer(config(0, method, momentum=0.9, sam=sam), prepared(train=60, val=20), World.single())
    moved = moves(trainer)
    assert all(not bool(change.any()) for name, change in moved.items() if name.startswith("backbone."))
    assert all(bool(change.any()) for name, change in moved.items() if name.endswith("layers.0.weight"))
    assert trainer.optimizer.state
    assert not any(name.startswith("backbone.") for name in trainer.optimizer.state)


def test_a_frozen_backbone_drops_nothing_out() -> None:
    model = Trainer(config(0), prepared(train=60, val=20), World.single()).model
    model.train()
    assert model.heads.training
    assert not any(module.training for module in model.backbone.modules())


@pytest.mark.parametrize(
    "method", [name for name, section in SECTIONS.items() if section["method"] not in LOSS_METHODS]
)
def test_methods_of_gradients_refuse_a_frozen_backbone(method: str) -> None:
    with pytest.raises(TrainingError, match=r"nothing shared is trained.*backbone_lr_factor"):
        Trainer(config(0, method), prepared(train=60, val=20), World.single())


def test_a_backbone_can_be_frozen_on_a_resume() -> None:
    """Population-based training may do so: the state of what is frozen now is passed over."""
    data = prepared(train=60, val=20)
    before = Trainer(config(1, momentum=0.9), data, World.single())
    before.run_epoch()
    after = Trainer(config(0, momentum=0.9), data, World.single())
    after.load_state_dict(before.state_dict())
    assert after.optimizer.state.keys() == {n for n in before.optimizer.state if n.startswith("heads.")}
    after.run_epoch()
