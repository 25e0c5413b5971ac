"""Tasks that methods have no use for, in trainings: a loss of zero, two that are opposite, very many."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.contracts.methods import METHODS, SECTIONS
from tests.contracts.trainings import moved, multiply, trainer_of, weights, with_twin
from tests.trainables.synthetic import TASKS, prepared
from trainables.data.prepared import TaskLabels
from trainables.tasks.losses import TaskLoss
from trainables.training.trainer import Trainer

ONE_STEP = {"epochs": 1, "batch_size": 72}
MANY = 40
SUMS = {"static": MANY, "equal": MANY, "dwa": MANY, "gradnorm": MANY} | dict.fromkeys(
    ("random", "famo", "mgda", "imtl_g", "excess_mtl", "sdmgrad", "modo"), 1
)
"""What weights sum to, as docs/balancing.md says."""


def assert_finite(trainer: Trainer, report: Mapping[str, float]) -> None:
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())
    assert [name for name, value in report.items() if not math.isfinite(value)] == []


def oppose(loss: TaskLoss) -> None:
    """The loss keeps its value, its gradient points the other way."""
    total = loss.total

    def opposed(*arguments: Any, **named: Any) -> Tensor:
        value = total(*arguments, **named)
        return 2 * value.detach() - value

    loss.total = opposed  # type: ignore[method-assign]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_task_with_a_loss_of_zero(name: str) -> None:
    trainer = trainer_of(SECTIONS[name])
    multiply(trainer._losses["bright"], 0)
    for _ in range(trainer.config.training.epochs):
        report = trainer.run_epoch().training
        assert_finite(trainer, report)
        assert not any(key.startswith("conflict.") and "bright" in key for key in report)
        assert all(abs(weight) < 1e3 for weight in weights(report).values())


@pytest.mark.parametrize("name", SECTIONS)
def test_what_a_task_with_a_loss_of_zero_changes(name: str) -> None:
    idle = METHODS[name.removesuffix(" at features")].idle
    trainer = trainer_of(SECTIONS[name], training=ONE_STEP)
    multiply(trainer._losses["bright"], 0)
    ours = moved(trainer)
    others = ("shape", "marks")
    without = moved(trainer_of(SECTIONS[name], tasks=others, training=ONE_STEP))
    equal = moved(trainer_of({"method": "equal"}, tasks=others, training=ONE_STEP))
    expected = {"nothing": without, "a share": without * (2 / 3), "all": without * 0, "fallback": equal / 3}
    if idle in expected:
        torch.testing.assert_close(ours, expected[idle], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", SECTIONS)
def test_two_opposite_tasks(name: str) -> None:
    """They cancel, except where one of them is drawn to go first."""
    trainer = with_twin(SECTIONS[name], prepared(train=72, val=10))
    oppose(trainer._losses["twin"])
    step = moved(trainer)
    if SECTIONS[name]["method"] not in ("random", "graddrop"):
        assert step.abs().max() < 1e-12
    for _ in range(2):  # heads, and what methods remember, go on
        report = trainer.run_epoch().training
        assert_finite(trainer, report)


@pytest.mark.parametrize("name", SECTIONS)
def test_forty_tasks(name: str) -> None:
    section = SECTIONS[name] | ({"weights": {}} if SECTIONS[name]["method"] == "static" else {})
    data = prepared(train=72, val=10)
    kinds = [list(TASKS)[number % 3] for number in range(MANY)]
    for number, kind in enumerate(kinds):
        values = data.labels[kind].values
        rolled = np.concatenate([np.roll(values[:72], number, axis=0), values[72:]])
        data.labels[f"task{number}"] = TaskLabels(rolled, np.ones(len(rolled), dtype=bool))
        data.classes[f"task{number}"] = data.classes[kind]
    tasks = {f"task{number}": TASKS[kind] for number, kind in enumerate(kinds)}
    trainer = trainer_of(section, data=data, tasks=tasks, lr=0.005)
    report = trainer.run_epoch().training
    assert_finite(trainer, report)
    assert "fallbacks" not in report
    if section["method"] in SUMS:
        assert sum(weights(report).values()) == pytest.approx(SUMS[section["method"]], abs=1e-9)
