"""What a balancing method is given, checked against losses computed by hand."""

import weakref
from collections.abc import Mapping, Sequence

import pytest
import torch

from tests.trainables.synthetic import TASKS, prepared, trial
from trainables.balancing.balancer import Balancer, LossBalancer
from trainables.balancing.static import Static
from trainables.balancing.step import Step
from trainables.training.trainer import Trainer
from trainables.training.world import World

CONSTANT = {
    "epochs": 1,
    "batch_size": 16,
    "precision": "fp32",
    "optimizer": {"name": "adam", "lr": 3e-3},
    "schedule": {"name": "constant"},
}
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


class Writing(Balancer):
    """Writes contiguous gradients itself, and follows each step with torch's own optimizer."""

    def backward(self, step: Step) -> None:
        named = dict(step.model.named_parameters())
        if not hasattr(self, "theirs"):
            self.theirs = {name: torch.nn.Parameter(p.detach().clone()) for name, p in named.items()}
            self.reference = torch.optim.Adam(self.theirs.values(), lr=3e-3, foreach=False, fused=False)
        mean = sum(step.sums[task] / step.batch.totals[task] for task in step.tasks)
        assert isinstance(mean, torch.Tensor)
        gradients = [g.contiguous() for g in torch.autograd.grad(mean, list(named.values()))]
        step.write_gradients(dict(zip(named.values(), gradients, strict=True)))
        for theirs, gradient in zip(self.theirs.values(), gradients, strict=True):
            theirs.grad = gradient
        self.reference.step()

    def after_step(self, step: Step) -> None:
        for name, p in step.model.named_parameters():
            assert torch.allclose(p, self.theirs[name], atol=1e-6), name

    def end_epoch(self, losses: Mapping[str, float]) -> Mapping[str, float]:
        return {"conflicts": 2.0, "shape.weight": 7.0}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.optim imports torch's compiler
def test_gradients_of_any_layout_are_written_in_that_of_their_parameter() -> None:
    config = trial(model={"backbone": {"name": "lenet", "width": 8}}, training=CONSTANT)
    trainer = Trainer(config, prepared(), World.single())
    weights = [p for p in trainer.model.parameters() if p.dim() == 4]
    assert any(not p.is_contiguous() for p in weights)  # channels_last
    trainer.balancer = trainer._steps._balancer = Writing(tuple(config.tasks))
    report = trainer.run_epoch()
    assert report.training["conflicts"] == 2.0
    assert report.training["shape.weight"] == 7.0


class Counting(LossBalancer):
    """Counts the graphs that are alive when a step begins: another one would double the memory."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.last: list[weakref.ref[Step]] = []

    def start_epoch(self, epoch: int) -> None:
        self.last.clear()

    def task_weights(self, step: Step) -> Sequence[float]:
        self.last.append(weakref.ref(step))
        return [1.0] * len(step.tasks)


def test_a_step_is_gone_before_the_next_one_is_built() -> None:
    counting = Counting(("shape", "bright", "marks"))
    trainer = Trainer(trial(training=CONSTANT), prepared(), World.single())
    trainer.balancer = trainer._steps._balancer = counting
    forward = trainer.model.features

    def features(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        assert all(step() is None for step in counting.last)
        return forward(images)

    trainer.model.features = features  # type: ignore[method-assign]
    trainer.run_epoch()
    assert len(counting.last) > 1


def test_frozen_parameters_are_nobodys() -> None:
    model = Trainer(trial(), prepared(), World.single()).model
    frozen = [next(model.backbone.parameters()), next(model.heads["task_shape"].parameters())]
    for p in frozen:
        p.requires_grad_(False)
    remaining = [*model.shared_parameters(), *model.task_parameters("shape")]
    assert all(p is not q for p in frozen for q in remaining)
    assert all(p.requires_grad for p in remaining)


def test_halves_put_together_are_the_whole_batch() -> None:
    """MoDo's step, as long as its weights are equal, is that of fixed ones, up to rounding in double precision."""
    training = {"epochs": 1, "batch_size": 90, "precision": "fp64", "optimizer": {"name": "sgd", "lr": 0.1}}
    moved = []
    for balancing in (
        {"method": "modo", "gamma": 1e-300},
        {"method": "static", "weights": dict.fromkeys(TASKS, 1 / 3)},
    ):
        config = trial(balancing=balancing, training=training)
        trainer = Trainer(config, prepared(labelled=0.7), World.single())
        trainer.run_epoch()
        moved.append(trainer.model.get_parameter("backbone.conv1.weight"))
    torch.testing.assert_close(*moved, rtol=1e-12, atol=1e-14)
