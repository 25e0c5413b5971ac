"""Sharpness-aware minimisation: laws, then a step worked by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.methods import SECTIONS
from tests.trainables.synthetic import prepared, trial
from trainables.config.training import SAM
from trainables.training.sam import ETA, ascended
from trainables.training.trainer import Trainer
from trainables.training.world import World

MODEL = {
    "backbone": {"name": "small_resnet", "blocks": 1, "width": 4},
    "heads": {"default": {"kind": "mlp", "hidden": [8], "dropout": 0.3}},
}


def trained(sam: dict[str, Any] | None, method: str = "static", **training: Any) -> dict[str, Tensor]:
    """Everything that two epochs leave behind."""
    optimizer = {"name": "sgd", "lr": 0.05, "sam": sam}
    own = {"epochs": 2, "batch_size": 24, "precision": "fp64", "optimizer": optimizer, **training}
    config = trial(model=MODEL, balancing=SECTIONS[method], training=own)
    trainer = Trainer(config, prepared(train=60, val=20, labelled=0.6), World.single())
    for _ in range(2):
        trainer.run_epoch()
    return trainer.state_dict().tensors


def worst(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max((ours[n].double() - theirs[n].double()).abs().max().item() for n in ours if ours[n].numel())


@pytest.mark.parametrize("method", SECTIONS)
def test_without_distance_it_is_no_sam_at_all(method: str) -> None:
    """Also what running statistics and the method's own state become: they move once per step."""
    assert worst(trained({"rho": 1e-11}, method), trained(None, method)) < 1e-6


def test_with_distance_it_is_something_else() -> None:
    plain = trained(None)
    assert worst(trained({"rho": 0.5}), plain) > 1e-3
    assert worst(trained({"rho": 0.5}), trained({"rho": 0.5, "adaptive": True})) > 1e-3


@pytest.mark.parametrize("further", [{"clip_norm": 0.01}, {"ema": 0.9}, {"precision": "bf16"}])
def test_it_goes_with_the_rest(further: dict[str, Any]) -> None:
    after = trained({"rho": 0.05}, **further)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in after.values() if tensor.is_floating_point())


def gradient(w: Tensor, curvature: Tensor) -> Tensor:
    return curvature * w  # of ½ Σ a w²


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_quadratic_by_hand(adaptive: bool) -> None:
    """Parameters in two tensors of different shapes are one vector."""
    one, other = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([[-1.0, 0.0]]))
    unused = nn.Parameter(torch.ones(2))
    a = torch.tensor([2.0, 4.0, 1.0])
    w = torch.tensor([3.0, -1.0, 0.0])
    g = gradient(w, a)
    one.grad, other.grad = g[:1].clone(), g[1:].view(1, 2).clone()
    t = w.abs() + ETA if adaptive else torch.ones(3)
    expected = w + 0.1 * t**2 * g / (t * g).norm()
    if not adaptive:
        assert (expected - w).norm() == pytest.approx(0.1)
    with ascended([one, other, unused], SAM(rho=0.1, adaptive=adaptive)):
        there = torch.cat([one.detach(), other.detach().view(-1)])
        assert one.grad is None
        assert torch.allclose(there, expected)
    assert torch.equal(torch.cat([one.detach(), other.detach().view(-1)]), w), "exactly where it was"
    assert torch.equal(unused.detach(), torch.ones(2))


def test_no_gradient_no_ascent() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.zeros(3)
    with ascended([p], SAM()):
        assert torch.equal(p.detach(), torch.ones(3))


def test_parameters_come_back_from_an_error() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    with pytest.raises(RuntimeError), ascended([p], SAM()):
        raise RuntimeError
    assert torch.equal(p.detach(), torch.ones(3))
