"""What a balancing method is given, checked against losses computed by hand."""

from collections.abc import Sequence

import pytest
import torch

from tests.trainables.synthetic import prepared, trial
from trainables.balancing.balancer import Balancer, LossBalancer
from trainables.balancing.static import Static
from trainables.balancing.step import Step
from trainables.training.trainer import Trainer
from trainables.training.world import World

RESNET = {"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}}


class Looking(LossBalancer):
    """Equal weights; keeps what it sees of each step."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.before: list[torch.Tensor] = []
        self.after: list[torch.Tensor] = []
        self.steps: list[Step] = []

    def task_weights(self, step: Step) -> Sequence[float]:
        self.steps.append(step)
        self.before.append(step.mean_losses())
        assert torch.equal(step.mean_losses_now(), self.before[-1])
        for sums, totals in step.parts(3, "test"):
            assert sums.keys() == totals.keys()
        parts = step.parts(3, "test")
        for task in step.tasks:
            whole = sum(sums[task].item() for sums, _ in parts if task in sums)
            assert whole == pytest.approx(step.sums[task].item(), rel=1e-9)
            assert sum(totals.get(task, 0.0) for _, totals in parts) == step.batch.totals[task]
        return [1.0] * len(step.tasks)

    def after_step(self, step: Step) -> None:
        self.after.append(step.mean_losses_now())


def trained_by(balancer: Balancer, epochs: int = 1, labelled: float = 0.3) -> Trainer:
    config = trial(model=RESNET, training={"epochs": epochs, "batch_size": 16, "precision": "fp64"})
    trainer = Trainer(config, prepared(labelled=labelled), World.single())
    trainer.balancer = trainer._steps._balancer = balancer
    for _ in range(epochs):
        trainer.run_epoch()
    return trainer


def test_looking_at_losses_changes_nothing() -> None:
    tasks = ("shape", "bright", "marks")
    looking = Looking(tasks)
    ours = trained_by(looking).state_dict().tensors
    theirs = trained_by(Static(tasks, {})).state_dict().tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert len(looking.before) == len(looking.after) == 6
    improved = [
        bool((after < before).all()) for before, after in zip(looking.before, looking.after, strict=True)
    ]
    assert sum(improved) > len(improved) / 2


def test_tasks_without_labels_are_in_no_step() -> None:
    looking = Looking(("shape", "bright", "marks"))
    trained_by(looking, epochs=2, labelled=0.03)
    assert any(len(step.tasks) < 3 for step in looking.steps)
    for step in looking.steps:
        assert step.weights.keys() == step.sums.keys() == set(step.tasks)
        assert all(step.batch.totals[task] > 0 for task in step.tasks)


def test_static_weights_are_used_as_written() -> None:
    config = trial(balancing={"weights": {"shape": 0.25, "marks": 0.0}})
    report = Trainer(config, prepared(), World.single()).run_epoch()
    weights = {task: report.training[f"{task}.weight"] for task in config.tasks}
    assert weights == {"shape": 0.25, "bright": 1.0, "marks": 0.0}
