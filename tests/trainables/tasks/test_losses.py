"""A loss is a sum over labelled examples and a global denominator; torch's own means are the reference."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.trainables.calls import Called
from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask, TaskConfig
from trainables.data.prepared import TaskLabels
from trainables.errors import TrainingError
from trainables.tasks.losses import TaskLoss, build_loss

N = 200


def labels_of(task: TaskConfig, *, labelled: float = 1.0) -> tuple[TaskLabels, tuple[str, ...]]:
    generator = np.random.default_rng(1)
    present = generator.random(N) < labelled
    if isinstance(task, MultilabelTask):
        return TaskLabels(generator.integers(0, 2, (N, 3)).astype(np.uint8), present), ("p", "q", "r")
    if isinstance(task, MulticlassTask):
        return TaskLabels(generator.choice(3, N, p=[0.6, 0.3, 0.1]), present), ("a", "b", "c")
    return TaskLabels(generator.integers(0, 2, N), present), ("no", "yes")


def build(task: TaskConfig, *, labelled: float = 1.0) -> tuple[TaskLoss, TaskLabels]:
    labels, classes = labels_of(task, labelled=labelled)
    return build_loss("t", task, classes, labels, np.arange(N)), labels


def mean(loss: TaskLoss, logits: torch.Tensor, labels: TaskLabels) -> float:
    total = loss.total(logits, loss.encode(labels), complete=bool(labels.present.all()))
    return total.item() / float(loss.example_weights(labels).sum())


def logits_for(loss: TaskLoss) -> torch.Tensor:
    return torch.randn(N, loss.outputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("labelled", [1.0, 0.4])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, "balanced", {"b": 3.0}])
def test_multiclass_is_torchs_weighted_mean(labelled: float, smoothing: float, weights: Any) -> None:
    loss, labels = build(
        MulticlassTask(label="x", label_smoothing=smoothing, class_weights=weights), labelled=labelled
    )
    logits = logits_for(loss)
    values = torch.from_numpy(labels.values).long()
    vector = None
    if weights == "balanced":
        inverse = 1 / torch.bincount(values[labels.present], minlength=3).double()
        vector = inverse / inverse.mean()
    elif weights is not None:
        vector = torch.tensor([1.0, 3.0, 1.0], dtype=torch.float64)
    expected = functional.cross_entropy(
        logits[labels.present],
        values[labels.present],
        weight=vector,
        label_smoothing=smoothing,
    )
    assert mean(loss, logits, labels) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("labelled", [1.0, 0.4])
def test_binary_and_multilabel_are_torchs_means(labelled: float) -> None:
    loss, labels = build(BinaryTask(label="x", positive_weight=2.5), labelled=labelled)
    logits = logits_for(loss)
    expected = functional.binary_cross_entropy_with_logits(
        logits[labels.present, 0],
        torch.from_numpy(labels.values[labels.present]).double(),
        pos_weight=torch.tensor(2.5, dtype=torch.float64),
    )
    assert mean(loss, logits, labels) == pytest.approx(expected.item(), rel=1e-12)
    loss, labels = build(MultilabelTask(label="x"), labelled=labelled)
    logits = logits_for(loss)
    expected = functional.binary_cross_entropy_with_logits(
        logits[labels.present], torch.from_numpy(labels.values[labels.present]).double()
    )
    assert mean(loss, logits, labels) == pytest.approx(expected.item(), rel=1e-12)


def test_binary_smoothing_moves_targets_towards_a_half() -> None:
    loss, labels = build(BinaryTask(label="x", label_smoothing=0.2))
    certain = torch.where(torch.from_numpy(labels.values) > 0, 1.0, -1.0)[:, None].double()
    best = torch.logit(torch.tensor(0.9)).item()
    assert mean(loss, certain * best, labels) < mean(loss, certain * best * 2, labels)
    assert mean(loss, certain * best, labels) < mean(loss, certain * best / 2, labels)
    plain = loss.without_smoothing()
    assert mean(plain, certain * 20, labels) < 1e-8


@pytest.mark.parametrize(
    "task",
    [
        MulticlassTask(label="x", label_smoothing=0.1, class_weights="balanced"),
        BinaryTask(label="x", positive_weight="balanced", label_smoothing=0.1),
        MultilabelTask(label="x", label_smoothing=0.1),
    ],
    ids=lambda task: task.type,
)
def test_a_masked_label_changes_nothing(task: TaskConfig) -> None:
    loss, labels = build(task, labelled=0.5)
    noise = np.random.default_rng(5).integers(0, 2, labels.values.shape).astype(labels.values.dtype)
    mask = labels.present if labels.values.ndim == 1 else labels.present[:, None]
    other = TaskLabels(np.where(mask, labels.values, noise), labels.present)
    logits = logits_for(loss).requires_grad_()
    other_logits = torch.where(
        torch.from_numpy(labels.present)[:, None], logits.detach(), 50.0
    ).requires_grad_()
    ours, theirs = loss.total(logits, loss.encode(labels)), loss.total(other_logits, loss.encode(other))
    assert torch.equal(ours, theirs)
    torch.autograd.backward([ours, theirs])
    assert logits.grad is not None
    assert other_logits.grad is not None
    assert torch.equal(logits.grad[labels.present], other_logits.grad[labels.present])
    assert not other_logits.grad[~labels.present].any()
    assert (loss.example_weights(labels) == loss.example_weights(other)).all()


def test_a_class_that_does_not_exist_is_named() -> None:
    with pytest.raises(TrainingError, match=r"tasks\.t\.class_weights names 'B'"):
        build(MulticlassTask(label="x", class_weights={"B": 2.0}))


def test_class_weights_know_a_number_however_it_is_written() -> None:
    labels = TaskLabels(np.array([0, 1]), np.ones(2, dtype=bool))
    task = MulticlassTask(label="x", class_weights={"1.0": 5.0})
    loss = build_loss("t", task, ("0", "1"), labels, np.arange(2))
    assert loss.example_weights(labels).tolist() == [1.0, 5.0]


def test_weights_are_sent_to_the_device_once() -> None:
    """Each time would make a GPU wait."""
    tasks = (
        BinaryTask(label="x", positive_weight=2.0),
        MulticlassTask(label="x", class_weights={"a": 2.0}),
    )
    for task in tasks:
        loss, labels = build(task)
        logits, targets = logits_for(loss), loss.encode(labels)
        loss.total(logits, targets)
        with Called() as called:
            loss.total(logits, targets)
        assert "new_tensor" not in called.names
        assert not {"as_tensor", "tensor"} & called.names
