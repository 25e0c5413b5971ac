"""The fused optimizers are torch.optim's, bit for bit."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainables.config.training import SGD, Adam, AdamW, OptimizerConfig
from trainables.training.optim import build_optimizer

CASES: dict[str, tuple[OptimizerConfig, Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (Adam(weight_decay=0.1), torch.optim.Adam, {"weight_decay": 0.1}),
    "adamw": (
        AdamW(weight_decay=0.1, betas=(0.8, 0.9)),
        torch.optim.AdamW,
        {"weight_decay": 0.1, "betas": (0.8, 0.9)},
    ),
    "sgd": (SGD(momentum=0.0, weight_decay=0.1), torch.optim.SGD, {"weight_decay": 0.1}),
    "momentum": (SGD(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (SGD(momentum=0.9, nesterov=True), torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(12, 2), nn.Linear(2, 2)
        )
    return net.to(memory_format=torch.channels_last)


def give_gradients(nets: list[nn.Module], step: int) -> None:
    """The same gradient for every net. Some parameters have none in some steps, as heads without labels."""
    generator = torch.Generator().manual_seed(step)
    for parameters in zip(*(net.parameters() for net in nets), strict=True):
        gradient = torch.randn(parameters[0].shape, generator=generator)
        for p in parameters:
            skipped = 3 <= step < 6 and p.shape == (2, 2)
            p.grad = None if skipped else torch.empty_like(p).copy_(gradient)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.optim imports torch's compiler
def test_the_same_numbers_as_torch(name: str) -> None:
    config, reference, arguments = CASES[name]
    ours, theirs = network(), network()
    optimizer = build_optimizer(config, dict(ours.named_parameters()))
    expected = reference(theirs.parameters(), lr=0.01, fused=True, **arguments)
    for step in range(8):
        lr = 0.01 / (step + 1)
        give_gradients([ours, theirs], step)
        optimizer.step(lr)
        for group in expected.param_groups:
            group["lr"] = lr
        expected.step()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(p, q)


@pytest.mark.parametrize("name", CASES)
def test_moments_are_restored_in_the_layout_of_their_parameter(name: str) -> None:
    config = CASES[name][0]
    ours, theirs = network(), network()
    first = build_optimizer(config, dict(ours.named_parameters()))
    for step in range(5):
        give_gradients([ours], step)
        first.step(0.01)
    theirs.load_state_dict(ours.state_dict())
    second = build_optimizer(config, dict(theirs.named_parameters()))
    second.load_state_dict(
        {name: t.clone(memory_format=torch.contiguous_format) for name, t in first.state_dict().items()}
    )
    for step in range(5, 10):
        give_gradients([ours, theirs], step)
        first.step(0.01)
        second.step(0.01)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_parameter_may_come_late_to_momentum() -> None:
    """torch.optim's fused SGD fails on a mixture of old and new parameters."""
    early, late = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = build_optimizer(SGD(momentum=0.5), {"early": early, "late": late})
    early.grad = torch.ones(2)
    optimizer.step(1.0)
    late.grad = torch.ones(2)
    optimizer.step(1.0)
    assert early.tolist() == [-2.5, -2.5]
    assert late.tolist() == [-1.0, -1.0]


def test_a_trial_imports_nothing_heavy() -> None:
    """Constructing torch.optim's classes alone costs 1.4 s of imports, more than a whole small trial."""
    code = (
        "import sys, torch\n"
        "from tests.trainables.synthetic import prepared, trial\n"
        "from trainables.training.trainer import Trainer\n"
        "from trainables.training.world import World\n"
        "config = trial(training={'epochs': 1, 'clip_norm': 1.0, 'ema': 0.9})\n"
        "Trainer(config, prepared(), World.single()).run_epoch()\n"
        "heavy = ('torch._dynamo', 'torchvision', 'torchmetrics', 'sklearn', 'scipy', 'pandas')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout


def test_the_state_of_another_kind_is_started_afresh() -> None:
    """PBT takes over trials with another optimizer."""
    for theirs in CASES:
        donor = network()
        first = build_optimizer(CASES[theirs][0], dict(donor.named_parameters()))
        give_gradients([donor], 0)
        first.step(0.01)
        for ours in CASES:
            net, fresh = network(), network()
            optimizer = build_optimizer(CASES[ours][0], dict(net.named_parameters()))
            optimizer.load_state_dict(first.state_dict())
            same = {"adam": "adam", "adamw": "adam", "nesterov": "momentum"}
            if same.get(ours, ours) == same.get(theirs, theirs):
                continue
            give_gradients([net, fresh], 1)
            optimizer.step(0.01)
            build_optimizer(CASES[ours][0], dict(fresh.named_parameters())).step(0.01)
            assert all(torch.equal(p, q) for p, q in zip(net.parameters(), fresh.parameters(), strict=True))
