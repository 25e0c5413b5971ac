"""The probe's look at gradients, against gradients found one by one."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.trainables.synthetic import TASKS, prepared, trial
from trainables.balancing.conflict import cosines
from trainables.balancing.probe import ConflictProbe
from trainables.balancing.step import Step
from trainables.model.multitask import MultiTaskModel
from trainables.training.trainer import Trainer
from trainables.training.world import World

RESNET = {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}}
TRAINING: dict[str, Any] = {"epochs": 2, "batch_size": 16, "precision": "fp64"}


def layers(model: MultiTaskModel) -> list[list[nn.Parameter]]:
    """The parameters of every module that has its own."""
    own = [list(module.parameters(recurse=False)) for module in model.backbone.modules()]
    return [parameters for parameters in own if parameters]


class OneByOne(ConflictProbe):
    """Finds every cosine by itself, from two tasks' gradients at one layer, and compares."""

    def after_step(self, step: Step) -> None:
        super().after_step(step)
        self.expected.append(self.now)

    def backward(self, step: Step) -> None:
        self.expected = getattr(self, "expected", [])
        parts = layers(step.model)
        self.now = np.full((len(parts), len(self.tasks), len(self.tasks)), np.nan)
        for number, part in enumerate(parts):
            for a, b in combinations(step.tasks, 2):
                one, other = (
                    torch.cat(
                        [
                            g.flatten()
                            for g in torch.autograd.grad(
                                step.sums[task] / step.batch.totals[task], part, retain_graph=True
                            )
                        ]
                    )
                    for task in (a, b)
                )
                place = number, self.tasks.index(a), self.tasks.index(b)
                self.now[place] = functional.cosine_similarity(one, other, dim=0, eps=0)
        super().backward(step)


@pytest.mark.parametrize("labelled", [1.0, 0.1])
def test_cosines_are_those_found_one_by_one(labelled: float) -> None:
    trainer = Trainer(
        trial(model=RESNET, training=TRAINING),
        prepared(labelled=labelled),
        World.single(),
        lambda model: OneByOne(tuple(TASKS), layers(model), every=1),
    )
    trainer.run_epoch()
    probe = trainer.balancer
    assert isinstance(probe, OneByOne)
    above = np.triu_indices(len(TASKS), 1)
    seen = np.stack(probe.seen)[:, :, *above]
    expected = np.stack(probe.expected)[:, :, *above]
    assert seen.shape == (6, len(layers(trainer.model)), 3)
    assert np.isnan(seen).any() == (labelled < 1)
    assert np.allclose(seen, expected, atol=1e-9, equal_nan=True)


def test_looking_changes_no_step() -> None:
    def trained(every: int) -> dict[str, Tensor]:
        trainer = Trainer(
            trial(model=RESNET, training=TRAINING),
            prepared(labelled=0.3),
            World.single(),
            lambda model: ConflictProbe(tuple(TASKS), layers(model), every),
        )
        trainer.run_epoch()
        assert isinstance(trainer.balancer, ConflictProbe)
        assert len(trainer.balancer.seen) == -(-6 // every)  # of 6 steps
        return trainer.state_dict().tensors

    often, once = trained(2), trained(100)
    assert all(torch.equal(often[name], once[name]) for name in often)


def test_a_step_that_is_looked_at_twice_counts_once() -> None:
    sam = {"name": "adam", "lr": 3e-3, "sam": {"rho": 0.05}}
    trainer = Trainer(
        trial(model=RESNET, training=TRAINING | {"optimizer": sam}),
        prepared(),
        World.single(),
        lambda model: ConflictProbe(tuple(TASKS), layers(model), every=1),
    )
    trainer.run_epoch()
    assert isinstance(trainer.balancer, ConflictProbe)
    assert len(trainer.balancer.seen) == 6


class _Opposing(nn.Module):
    """An early part, and a last one that is added to what one task reads and subtracted from what the other does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.early = nn.Conv2d(channels, 6, 3)
        self.last = nn.Parameter(torch.zeros(6))

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.early(images)).mean((2, 3))
        return torch.cat([x + self.last, x - self.last], 1)


def opposing(channels: int, image_size: tuple[int, int]) -> nn.Module:
    """A user's backbone, for the test below."""
    return _Opposing(channels)


def test_two_tasks_that_conflict_at_the_last_part_only_are_found() -> None:
    """They ask the same, each of its half of the features: alike at the early part, opposite at the last one."""

    def make(model: MultiTaskModel) -> ConflictProbe:
        one, other = (
            next(m for m in model.heads[f"task_{t}"].modules() if isinstance(m, nn.Linear)) for t in "ab"
        )
        with torch.no_grad():
            one.weight[:, 6:] = 0
            other.weight.copy_(one.weight.roll(6, 1))
            other.bias.copy_(one.bias)
        backbone = model.backbone
        assert isinstance(backbone, _Opposing)
        return ConflictProbe("ab", [list(backbone.early.parameters()), [backbone.last]], every=2)

    data = prepared()
    data.labels.update(a=data.labels["shape"], b=data.labels["shape"])
    data.classes.update(a=data.classes["shape"], b=data.classes["shape"])
    asked = {"type": "multiclass", "label": "shape"}
    config = trial(
        tasks={"a": asked, "b": asked},
        model={"backbone": f"{__name__}:opposing"},
        training=TRAINING | {"optimizer": {"name": "sgd", "lr": 0.05}},
    )
    trainer = Trainer(config, data, World.single(), make)
    trainer.run_epoch()
    trainer.run_epoch()
    assert isinstance(trainer.balancer, ConflictProbe)
    seen = np.stack(trainer.balancer.seen)
    assert len(seen) == 6
    assert np.allclose(seen[:, 0, 0, 1], 1)
    assert np.allclose(seen[:, 1, 0, 1], -1)


def test_gradients_without_a_direction_have_no_cosine() -> None:
    found = cosines(np.array([[4.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 0.0, 1.0]]))
    assert np.array_equal(found, [[1, np.nan, 1], [np.nan] * 3, [1, np.nan, 1]], equal_nan=True)
    assert np.isnan(cosines(np.full((2, 2), np.inf))).all()
