"""Activations that are computed again are the same ones, and need less memory meanwhile."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tests.contracts.structures import STRUCTURES
from tests.trainables.synthetic import prepared, trial
from trainables.config.model import ModelConfig
from trainables.model.backbones import build_backbone
from trainables.model.recompute import blocks
from trainables.training.trainer import Trainer
from trainables.training.world import World

MODELS: dict[str, dict[str, Any]] = {
    "batch_norm": {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}},
    "everything": {
        "backbone": {"name": "tests.contracts.nets:residual", "arguments": {"batch_norm": True}},
        "heads": {"default": {"kind": "mlp", "hidden": [8], "dropout": 0.3}},
    },
    **STRUCTURES,
}
METHODS: dict[str, dict[str, Any]] = {
    "one backward pass": {},
    "a backward pass per task": {"method": "pcgrad", "gradients": "parameters"},
    "a second look": {"method": "famo"},
}


def trained(model: dict[str, Any], balancing: dict[str, Any], **training: Any) -> dict[str, Tensor]:
    data = prepared(train=40, val=10, labelled=0.7, side=10)
    settings = {"epochs": 2, "batch_size": 16, "precision": "fp64", **training}
    trainer = Trainer(trial(model=model, balancing=balancing, training=settings), data, World.single())
    for _ in range(2):
        trainer.run_epoch()
    return trainer.state_dict().tensors


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", MODELS)
def test_the_numbers_are_the_same(model: str, method: str) -> None:
    kept = trained(MODELS[model], METHODS[method])
    again = trained(MODELS[model], METHODS[method], recompute=True)
    assert kept.keys() == again.keys()
    assert [name for name in kept if not torch.equal(kept[name], again[name])] == []


def test_with_sharpness_aware_steps_too() -> None:
    sam = {"optimizer": {"name": "sgd", "lr": 0.05, "sam": {"rho": 0.05}}}
    kept = trained(MODELS["everything"], {}, **sam)
    again = trained(MODELS["everything"], {}, recompute=True, **sam)
    assert [name for name in kept if not torch.equal(kept[name], again[name])] == []


def kept_bytes(backbone: str, *, recompute: bool) -> int:
    """What a forward pass keeps for the backward pass, parameters apart."""
    training = {"epochs": 1, "batch_size": 16, "precision": "fp32", "recompute": recompute}
    data = prepared(train=16, val=4, side=32)
    trainer = Trainer(trial(model={"backbone": backbone}, training=training), data, World.single())
    own = {parameter.data_ptr() for parameter in trainer.model.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    trainer.model.context.begin(0, 0, 0, 16, 16)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = trainer.model(torch.rand(16, 1, 32, 32))
    total = sum(sizes.values())
    assert outputs
    return total


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_less_is_kept(backbone: str) -> None:
    assert kept_bytes(backbone, recompute=True) < 0.6 * kept_bytes(backbone, recompute=False)


@pytest.mark.parametrize(
    "backbone",
    ["resnet18", "vgg11", "googlenet", "efficientnet_b0", "densenet121", "swin_t", "convnext_tiny"],
)
def test_every_kind_of_backbone_has_blocks_of_its_own(backbone: str) -> None:
    config = ModelConfig.model_validate({"backbone": backbone})
    net = build_backbone(config, channels=3, image_size=(64, 64)).net
    found = blocks(net)
    assert found
    within = [set(block.modules()) for block in found]
    assert sum(map(len, within)) == len(set().union(*within)), "none is within another"


def test_a_net_without_blocks_trains_as_ever() -> None:
    model = {"backbone": "tests.contracts.nets:undivided"}
    kept, again = trained(model, {}), trained(model, {}, recompute=True)
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert blocks(nn.Linear(2, 2)) == []
