"""Metrics against scikit-learn, and what is undefined."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask
from trainables.tasks.metrics import compute_metric

MULTICLASS = MulticlassTask(label="x")
BINARY = BinaryTask(label="x")
MULTILABEL = MultilabelTask(label="x")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def numbers(classes: int) -> tuple[torch.Tensor, np.ndarray]:
    generator = np.random.default_rng(classes)
    logits = generator.normal(size=(200, classes)) * 2
    return torch.from_numpy(logits), logits


def test_multiclass() -> None:
    logits, raw = numbers(4)
    y = np.random.default_rng(9).integers(0, 4, 200)
    targets = torch.from_numpy(y)
    scores = logits.softmax(1).numpy()
    truth = np.eye(4)[y]
    assert compute_metric("accuracy", MULTICLASS, logits, targets) == (raw.argmax(1) == y).mean()
    f1 = reference.f1_score(y, raw.argmax(1), average="macro")
    assert compute_metric("f1", MULTICLASS, logits, targets) == pytest.approx(f1, abs=1e-6)
    auroc = reference.roc_auc_score(truth, scores, average="macro")
    assert compute_metric("auroc", MULTICLASS, logits, targets) == pytest.approx(auroc, abs=1e-6)
    ap = reference.average_precision_score(truth, scores, average="macro")
    assert compute_metric("average_precision", MULTICLASS, logits, targets) == pytest.approx(ap, abs=1e-6)


def test_binary_and_multilabel() -> None:
    logits, raw = numbers(3)
    y = np.random.default_rng(9).integers(0, 2, (200, 3))
    for task, columns in ((BINARY, slice(0, 1)), (MULTILABEL, slice(0, 3))):
        z, truth = logits[:, columns], y[:, columns]
        targets = torch.from_numpy(truth[:, 0] if task is BINARY else truth)
        predicted = raw[:, columns] > 0
        assert compute_metric("accuracy", task, z, targets) == pytest.approx((predicted == truth).mean())
        f1 = np.mean([reference.f1_score(t, p) for t, p in zip(truth.T, predicted.T, strict=True)])
        assert compute_metric("f1", task, z, targets) == pytest.approx(f1, abs=1e-6)
        auroc = reference.roc_auc_score(truth, raw[:, columns], average="macro")
        assert compute_metric("auroc", task, z, targets) == pytest.approx(auroc, abs=1e-6)
        ap = reference.average_precision_score(truth, raw[:, columns], average="macro")
        assert compute_metric("average_precision", task, z, targets) == pytest.approx(ap, abs=1e-6)


def test_calibration_error_of_a_coin_that_knows_itself() -> None:
    targets = torch.tensor([1] * 75 + [0] * 25)
    honest = torch.full((100, 1), math.log(3))  # says 0.75
    assert compute_metric("ece", BINARY, honest, targets) == pytest.approx(0, abs=1e-6)
    assert compute_metric("ece", BINARY, honest * 100, targets) == pytest.approx(0.25, abs=1e-6)
    two = torch.cat([torch.zeros_like(honest), honest], 1)
    assert compute_metric("ece", MULTICLASS, two, targets) == pytest.approx(0, abs=1e-6)


def test_undefined_is_nan() -> None:
    logits, _ = numbers(3)
    nothing = torch.zeros(0, dtype=torch.long)
    for name in ("accuracy", "f1", "auroc", "average_precision", "ece"):
        assert math.isnan(compute_metric(name, MULTICLASS, logits[:0], nothing))
    alike = torch.ones(200, dtype=torch.long)
    assert math.isnan(compute_metric("auroc", BINARY, logits[:, :1], alike))
    assert math.isnan(compute_metric("auroc", MULTICLASS, logits, alike))
    assert math.isnan(compute_metric("average_precision", BINARY, logits[:, :1], alike * 0))


def test_classes_that_do_not_occur_are_left_out_of_rankings() -> None:
    logits, _ = numbers(3)
    y = np.random.default_rng(9).integers(0, 2, 200)  # class 2 never
    scores = logits.softmax(1).numpy()
    expected = np.mean([reference.roc_auc_score(y == c, scores[:, c]) for c in (0, 1)])
    assert compute_metric("auroc", MULTICLASS, logits, torch.from_numpy(y)) == pytest.approx(
        expected, abs=1e-6
    )


def test_f1_is_over_what_occurs() -> None:
    tags = torch.tensor([[1, 0], [0, 0], [1, 0]])
    perfect = tags.double() * 2 - 1
    assert compute_metric("f1", MULTILABEL, perfect, tags) == 1.0
    assert math.isnan(compute_metric("f1", MULTILABEL, perfect, tags * 0))
    assert math.isnan(compute_metric("f1", BINARY, perfect[:, :1], tags[:, 0] * 0))
    y = torch.tensor([0, 0, 0, 1, 1, 1])  # class 2 never
    right = torch.eye(3, dtype=torch.float64)[y]
    assert compute_metric("f1", MULTICLASS, right, y) == 1.0
    once_wrong = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 0, 2, 1, 1, 1])]
    assert compute_metric("f1", MULTICLASS, once_wrong, y) == pytest.approx((0.8 + 1.0) / 2)


def test_rankings_do_not_saturate() -> None:
    y = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[40.0], [50.0], [60.0], [70.0]])
    for name in ("auroc", "average_precision"):
        assert compute_metric(name, BINARY, logits, y) == 1.0
        assert compute_metric(name, MULTILABEL, logits, y[:, None]) == 1.0
        two = torch.cat([torch.zeros_like(logits), logits], 1)
        assert compute_metric(name, MULTICLASS, two, y) == 1.0
    assert compute_metric("auroc", BINARY, logits * 0, y) == 0.5  # ties stay ties


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_outputs_that_are_not_finite_have_no_score(value: float) -> None:
    logits, _ = numbers(3)
    logits[7, 1] = value
    y = torch.from_numpy(np.random.default_rng(9).integers(0, 3, 200))
    for name in ("accuracy", "f1", "auroc", "average_precision", "ece"):
        assert math.isnan(compute_metric(name, MULTICLASS, logits, y))
