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
