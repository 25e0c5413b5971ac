"""Balancing methods and what there is to share: who is refused, and what is left out."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.contracts.methods import GRADIENT_METHODS, ONLY_PARAMETERS
from tests.contracts.structures import CNN, HEADS, SHARING
from tests.trainables.synthetic import prepared, trial
from trainables.balancing.build import build_balancer
from trainables.balancing.gradients import last_shared_layer
from trainables.config.balancing import GradNormBalancing, MGDABalancing
from trainables.config.model import ModelConfig
from trainables.errors import TrainingError
from trainables.model.multitask import MultiTaskModel, build_model
from trainables.training.trainer import Trainer
from trainables.training.world import World

OUTPUTS = {"shape": 3, "bright": 1, "marks": 4}


def model(**section: Any) -> MultiTaskModel:
    config = ModelConfig.model_validate({"backbone": CNN, **section})
    return build_model(config, channels=1, image_size=(12, 12), outputs=OUTPUTS, seed=0)


@pytest.mark.parametrize(
    "section",
    [
        {"sharing": SHARING["film"]},
        {"heads": {"shape": {"tap": "conv1"}, "default": {"tap": 1}, "marks": {}}},
    ],
    ids=["a structure", "heads"],
)
def test_gradients_of_features_are_refused_where_none_are_shared(section: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match="gradients: parameters") as caught:
        build_balancer(MGDABalancing(gradients="features"), tuple(OUTPUTS), model(**section))
    assert caught.value.key == "balancing.gradients"
    build_balancer(MGDABalancing(), tuple(OUTPUTS), model(**section))


def test_the_last_shared_layer_is_one_that_all_tasks_read() -> None:
    tapped = model(heads={"shape": {"tap": 1}})
    (weight,) = last_shared_layer(tapped)
    assert weight is dict(tapped.named_parameters())["backbone.trunk.0.conv1.weight"]
    (whole,) = last_shared_layer(model(heads=HEADS["one stage"], sharing={"kind": "mtan"}))
    assert whole.shape == (8, 1, 3, 3)
    apart = model(sharing={"kind": "branching", "at": {"default": 2, "shape": 0}})
    assert apart.shared_parameters()
    with pytest.raises(TrainingError, match="last layer that all tasks share") as caught:
        build_balancer(GradNormBalancing(), tuple(OUTPUTS), apart)
    assert caught.value.key == "balancing.method"


@pytest.mark.parametrize("method", ["mgda", "graddrop", "static"])
def test_features_that_nothing_trained_comes_before_are_left_out(method: str) -> None:
    """The first stage is frozen: its output is a feature without gradient."""
    balancing: dict[str, Any] = {"method": method}
    if method != "static":
        balancing["gradients"] = "features"
    config = trial(model={"backbone": CNN, "sharing": {"kind": "mtan"}}, balancing=balancing)
    trainer = Trainer(config, prepared(), World.single())
    trainer.model._parameters_of.clear()
    frozen = [p for n, p in trainer.model.backbone.named_parameters() if n.startswith("trunk.0")]
    before = [p.detach().clone() for p in frozen]
    for p in frozen:
        p.requires_grad_(False)
    report = trainer.run_epoch().training
    assert "conflict.shape:bright" in report
    assert all((p == q).all() for p, q in zip(frozen, before, strict=True))


def test_methods_by_losses_report_no_cosines_where_no_features_are_shared() -> None:
    config = trial(model={"backbone": CNN, "sharing": SHARING["cross_stitch"]})
    report = Trainer(config, prepared(), World.single()).run_epoch().training
    assert not any(name.startswith("conflict.") for name in report)


def test_structures_of_our_backbones_need_no_torchvision() -> None:
    code = """
import sys
from tests.trainables.balancing.test_sharing import model
model(sharing={"kind": "ple"}, heads={"shape": {"kind": "attention"}})
slow = {"torchvision", "sklearn", "scipy", "torchmetrics"} & set(sys.modules)
assert not slow, slow
model_modules = {name for name in sys.modules if name.startswith("trainables.model.sharing.")}
assert "trainables.model.sharing.mtan" not in model_modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


@pytest.mark.parametrize("method", [m for m in GRADIENT_METHODS if m not in ONLY_PARAMETERS])
def test_a_task_that_shares_nothing_changes_nothing_for_those_who_share(method: str) -> None:
    """Its gradient at what they share is zero, which is no reason to stand still."""
    training = {"epochs": 1, "precision": "fp64", "optimizer": {"name": "sgd", "lr": 0.05}}
    states = []
    for tasks in (tuple(OUTPUTS), ("bright", "marks")):
        at = {"default": 2, "shape": 0} if "shape" in tasks else 2
        section = {"backbone": CNN, "sharing": {"kind": "branching", "at": at}}
        config = trial(tasks=tasks, model=section, balancing={"method": method}, training=training)
        trainer = Trainer(config, prepared(tasks=tasks), World.single())
        before = trainer.model.get_parameter("backbone.trunk.0.conv1.weight").clone()
        report = trainer.run_epoch()
        assert all(abs(value) < 1e3 for name, value in report.training.items() if name.endswith("weight"))
        states.append(trainer.model.state_dict())
        assert not torch.equal(states[-1]["backbone.trunk.0.conv1.weight"], before)
    for name, tensor in states[1].items():
        torch.testing.assert_close(states[0][name], tensor, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("method", ["modo", "sdmgrad"])
def test_the_share_of_a_task_that_shares_nothing_stays(method: str) -> None:
    section = {"backbone": CNN, "sharing": {"kind": "branching", "at": {"default": 2, "shape": 0}}}
    own = {"method": method, "gamma": 0.1} if method == "modo" else {"method": method}
    trainer = Trainer(trial(model=section, balancing=own), prepared(), World.single())
    trainer.run_epoch()
    shares = trainer.balancer.state_dict()["weights"]
    assert float(shares[0]) == pytest.approx(1 / 3)
    assert float(shares.sum()) == pytest.approx(1)


def test_who_shares_nothing_is_told_to_share() -> None:
    with pytest.raises(TrainingError, match=r"nothing shared is trained.*share a stage \(model.sharing\)"):
        build_balancer(MGDABalancing(), tuple(OUTPUTS), model(sharing={"kind": "branching", "at": 0}))
