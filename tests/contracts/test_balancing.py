"""What every balancing method promises: scale, permutation, lonely and missing tasks. Methods join in `methods.py`."""

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.contracts.methods import GRADIENT_METHODS, METHODS, ONLY_PARAMETERS, SECTIONS
from tests.contracts.trainings import moved, multiply, trained, trainer_of, weights, with_twin
from tests.trainables.synthetic import TASKS, prepared
from trainables.config.balancing import BalancingConfig


def test_the_table_of_methods_is_complete() -> None:
    union = get_args(get_args(BalancingConfig)[0])
    names = {cls.model_fields["method"].default for cls in union}
    assert names == {method.section["method"] for method in METHODS.values()}
    both = {cls.model_fields["method"].default for cls in union if "gradients" in cls.model_fields}
    assert both | set(ONLY_PARAMETERS) == set(GRADIENT_METHODS)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("name", SECTIONS)
def test_multiplying_all_losses_does_what_the_method_says(name: str, factor: float) -> None:
    method = METHODS[name.removesuffix(" at features")]
    section = SECTIONS[name]
    if method.scale == "scales":
        ours, reports = trained(trainer_of(section))
        theirs, scaled = trained(trainer_of(section, lr=0.05 / factor, scale=factor))
        for p, q in zip(ours.values(), theirs.values(), strict=True):
            torch.testing.assert_close(q, p, rtol=1e-6, atol=1e-8)
        for before, after in zip(reports, scaled, strict=True):
            assert weights(after) == pytest.approx(weights(before), rel=1e-6, abs=1e-9, nan_ok=True)
    elif method.scale == "unchanged":
        one_step = {"epochs": 1, "batch_size": 72} if section["method"] in GRADIENT_METHODS else {}
        step = moved(trainer_of(section, training=one_step))
        scaled_step = moved(trainer_of(section, scale=factor, training=one_step))
        torch.testing.assert_close(scaled_step, step, rtol=1e-6, atol=1e-9)
    else:  # neither
        lr = 1e-8  # a million times as much must not diverge
        step = moved(trainer_of(section, lr=lr))
        scaled_step = moved(trainer_of(section, lr=lr, scale=factor))
        divided = moved(trainer_of(section, lr=lr / factor, scale=factor))
        assert (scaled_step - step).norm() > 1e-4 * step.norm()
        assert (divided - step).norm() > 1e-4 * step.norm()


@pytest.mark.parametrize("name", SECTIONS)
def test_the_order_of_tasks_does_not_matter(name: str) -> None:
    if METHODS[name.removesuffix(" at features")].draws == "for tasks":
        pytest.skip("the order decides who gets which draw")
    ours, reports = trained(trainer_of(SECTIONS[name]))
    theirs, permuted = trained(trainer_of(SECTIONS[name], tasks=("marks", "shape", "bright")))
    for name_of, p in ours.items():
        torch.testing.assert_close(theirs[name_of], p, rtol=0, atol=1e-9)
    for before, after in zip(reports, permuted, strict=True):
        assert weights(after) == pytest.approx(weights(before), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", SECTIONS)
def test_one_task_alone_gives_its_own_gradient(name: str) -> None:
    if name == "sdmgrad":
        pytest.skip("steps on a third of the batch")
    one_step = {"epochs": 1, "batch_size": 72}
    ours = moved(trainer_of(SECTIONS[name], tasks=("shape",), training=one_step))
    gradient = moved(trainer_of({"method": "equal"}, tasks=("shape",), training=one_step))
    assert torch.cosine_similarity(ours, gradient, dim=0).item() == pytest.approx(1, abs=1e-9)
    section = SECTIONS[name]
    if METHODS[name.removesuffix(" at features")].scale == "scales" and section["method"] != "static":
        torch.testing.assert_close(ours, gradient)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_twin_of_a_task_changes_no_direction(name: str) -> None:
    """Two tasks with the same gradient move the shared part as one of them alone."""
    data = prepared(train=72, val=10)
    ours = moved(with_twin(SECTIONS[name], data))
    one_step = {"epochs": 1, "batch_size": 72}
    alone = SECTIONS[name] if name == "sdmgrad" else {"method": "equal"}  # steps on a third of the batch
    gradient = moved(trainer_of(alone, tasks=("shape",), data=data, training=one_step))
    assert torch.cosine_similarity(ours, gradient, dim=0).item() == pytest.approx(1, abs=1e-7)


def survives(section: dict[str, Any], steps: int) -> None:
    epochs = max(1, steps // 100)
    data = prepared(train=min(steps, 100) * 8, val=20, labelled=0.05)
    trainer = trainer_of(
        section, data=data, training={"epochs": epochs, "batch_size": 8, "precision": "fp32"}, lr=0.02
    )
    for _ in range(epochs):
        report = trainer.run_epoch()
        assert all(math.isfinite(v) for k, v in report.training.items() if k.endswith("train_loss"))
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())


@pytest.mark.parametrize("name", SECTIONS)
def test_most_labels_may_be_missing(name: str) -> None:
    survives(SECTIONS[name], steps=50)


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_most_labels_may_be_missing_for_long(name: str) -> None:
    survives(SECTIONS[name], steps=1000)


ROWS = 60
UNEQUAL: dict[str, Any] = {"method": "static", "weights": {"shape": 0.7, "bright": 2.0, "marks": 5.0}}
"""With which no task is lost in the noise of the others."""
ONE_STEP = {"epochs": 1, "batch_size": ROWS}


@pytest.mark.parametrize(
    ("tasks", "rate"), [(("shape",), 0.05), (tuple(TASKS), 0.2)], ids=["one task", "three tasks"]
)
def test_the_gradient_is_unbiased_when_labels_are_missing_at_random(
    tasks: tuple[str, ...], rate: float
) -> None:
    """Of each task, given that it has a label: the mean over random masks is the gradient of all its labels."""
    data = prepared(train=ROWS, val=2, tasks=tasks)
    own = [moved(trainer_of(UNEQUAL, tasks=(task,), data=data, training=ONE_STEP)) for task in tasks]
    found = over_masks(UNEQUAL, tasks, rate, everyone=True)
    shares = torch.linalg.lstsq(torch.stack(own, 1), torch.stack(found, 1)).solution
    for along in shares:
        error = along.std().item() / math.sqrt(len(found))
        assert error < 0.2
        assert along.mean().item() == pytest.approx(1, abs=4 * error)


def test_tasks_count_as_often_as_they_have_a_label() -> None:
    """Of static weights w_t: the mean step over all masks is that of p·w_t, p being how often a task has a label."""
    rate = 0.01
    given = {"shape": 0.7, "bright": 2.0, "marks": 1.0}
    found = over_masks({"method": "static", "weights": given}, tuple(TASKS), rate, everyone=False)
    p = 1 - (1 - rate) ** ROWS
    section = {"method": "static", "weights": {task: p * weight for task, weight in given.items()}}
    true = moved(trainer_of(section, data=prepared(train=ROWS, val=2), training=ONE_STEP))
    along = torch.stack(found) @ true / (true @ true)
    error = along.std().item() / math.sqrt(len(found))
    assert along.mean().item() == pytest.approx(1, abs=4 * error)
    assert 4 * error < 1 / p - 1  # weights without p would be told apart


def over_masks(
    section: dict[str, Any], tasks: tuple[str, ...], rate: float, *, everyone: bool
) -> list[Tensor]:
    """Steps with random masks, each leaving a share `rate` of the labels.

    `everyone`: only of masks that leave each task a label; else of all, and where none is left the step is zero.
    """
    generator = np.random.default_rng(5)
    found = []
    for _ in range(300):
        data = prepared(train=ROWS, val=2, tasks=tasks)
        for task in tasks:
            data.labels[task].present[:ROWS] = generator.random(ROWS) < rate
        if not everyone or all(data.labels[task].present[:ROWS].any() for task in tasks):
            found.append(moved(trainer_of(section, tasks=tasks, data=data, training=ONE_STEP)))
    return found


def test_weights_cosines_and_labels_are_reported_every_epoch() -> None:
    for section in ({"method": "cagrad"}, {"method": "equal"}):
        _, reports = trained(trainer_of(section))
        for report in reports:
            assert {"conflict.shape:bright", "conflict.shape:marks", "conflict.bright:marks"} <= report.keys()
            assert all(-1 <= value <= 1 for name, value in report.items() if name.startswith("conflict."))
            assert {"shape.weight", "shape.labels_seen"} <= report.keys()
            assert "fallbacks" not in report


def test_cosines_are_those_of_gradients_computed_one_by_one() -> None:
    one_step = {"epochs": 1, "batch_size": 72}
    shape, marks = (
        moved(trainer_of({"method": "equal"}, tasks=(task,), training=one_step))
        for task in ("shape", "marks")
    )
    expected = torch.cosine_similarity(shape, marks, dim=0).item()
    report = trainer_of({"method": "cagrad"}, training=one_step).run_epoch().training
    assert report["conflict.shape:marks"] == pytest.approx(expected, abs=1e-9)


def test_a_step_without_weights_uses_equal_ones_and_is_counted() -> None:
    trainer = with_twin({"method": "nash_mtl"}, prepared(train=72, val=10))
    multiply(trainer._losses["twin"], -1)  # opposite gradients: no bargain makes both better off
    report = trainer.run_epoch().training
    assert report["fallbacks"] == 1
    assert weights(report) == {"shape.weight": 0.5, "twin.weight": 0.5}
    assert report["conflict.shape:twin"] == pytest.approx(-1)


def test_what_is_saved_stays_as_it_was() -> None:
    for name in SECTIONS:
        trainer = trainer_of(SECTIONS[name])
        trainer.run_epoch()
        state = trainer.balancer.state_dict()
        kept = {key: value.clone() for key, value in state.items()}
        trainer.run_epoch()
        for key in kept:
            torch.testing.assert_close(state[key], kept[key], rtol=0, atol=0, equal_nan=True)
