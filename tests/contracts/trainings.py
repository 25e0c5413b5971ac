"""Small trainings in which a step is the gradient, as contracts about balancing look at them."""

from typing import Any

import torch
from torch import Tensor

from tests.trainables.synthetic import TASKS, prepared, trial
from trainables.data.prepared import PreparedData
from trainables.tasks.losses import TaskLoss
from trainables.training.trainer import Trainer
from trainables.training.world import World

MLP = {"default": {"kind": "mlp", "hidden": [16]}}


def trainer_of(section: dict[str, Any], *, lr: float = 0.05, scale: float = 1.0, **options: Any) -> Trainer:
    """Double precision and plain SGD, so that a step is the gradient. `scale` multiplies all losses."""
    training = {
        "epochs": 2,
        "batch_size": 24,
        "precision": "fp64",
        "optimizer": {"name": "sgd", "lr": lr, "momentum": 0.0},
        **options.pop("training", {}),
    }
    data = options.pop("data", None) or prepared(train=72, val=10, labelled=options.pop("labelled", 0.6))
    config = trial(
        balancing=section,
        training=training,
        model={"backbone": {"name": "small_cnn", "width": 8}, "heads": MLP},
        **options,
    )
    trainer = Trainer(config, data, World.single())
    for loss in trainer._losses.values():
        multiply(loss, scale)
    return trainer


def multiply(loss: TaskLoss, scale: float) -> None:
    """The loss becomes `scale` times as large."""
    total = loss.total
    loss.total = lambda *a, **k: total(*a, **k) * scale  # type: ignore[method-assign]


def trained(trainer: Trainer) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Parameters and what every epoch reported."""
    reports = [trainer.run_epoch().training for _ in range(trainer.config.training.epochs)]
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}, reports


def weights(report: dict[str, float]) -> dict[str, float]:
    """Those of all tasks, `<task>.weight`, of what an epoch reported."""
    return {name: value for name, value in report.items() if name.endswith(".weight")}


def shared(parameters: dict[str, Tensor]) -> Tensor:
    """Those of the backbone as one vector."""
    return torch.cat([p.flatten() for name, p in parameters.items() if name.startswith("backbone")])


def moved(trainer: Trainer) -> Tensor:
    """What the shared parameters moved by."""
    before = shared(dict(trainer.model.named_parameters())).detach().clone()
    return shared(trained(trainer)[0]) - before


def with_twin(section: dict[str, Any], data: PreparedData) -> Trainer:
    """One step of the task `shape` and of another one that is the same, initial head included."""
    data.labels["twin"], data.classes["twin"] = data.labels["shape"], data.classes["shape"]
    trainer = trainer_of(
        section | ({"weights": {}} if section["method"] == "static" else {}),
        tasks={"shape": TASKS["shape"], "twin": TASKS["shape"]},
        data=data,
        training={"epochs": 1, "batch_size": 72},
    )
    heads = trainer.model.heads
    heads["task_twin"].load_state_dict(heads["task_shape"].state_dict())
    return trainer
