"""What a model costs: known from a trial's first report on, equal on every worker, measured once."""

import pytest
import torch

from search_spaces.objectives import is_minimised
from tests.trainables.synthetic import prepared, trial
from trainables.config.model import COSTS
from trainables.training import costs
from trainables.training.trainer import Trainer
from trainables.training.world import World

WIDE = trial(model={"backbone": {"name": "small_cnn", "width": 64}})


def test_a_report_has_the_costs_of_its_model() -> None:
    trainer = Trainer(WIDE, prepared(), World.single())
    report = trainer.run_epoch()
    assert list(report.costs) == [f"model.{name}" for name in COSTS]
    assert report.costs["model.parameters"] == sum(p.numel() for p in trainer.model.parameters())
    assert report.costs["model.flops"] > 0
    assert 0 < report.costs["model.latency_ms"] < 1000
    assert all(map(is_minimised, report.costs))


def test_a_wider_model_costs_more() -> None:
    narrow = trial(model={"backbone": {"name": "small_cnn", "width": 8}})
    one, other = (Trainer(config, prepared(), World.single()).costs for config in (narrow, WIDE))
    assert one["model.parameters"] < other["model.parameters"]
    assert one["model.flops"] < other["model.flops"]


def test_equal_models_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_known", {})
    first = Trainer(WIDE, prepared(), World.single()).costs
    other = WIDE.model_copy(update={"seed": 5})
    assert Trainer(other, prepared(), World.single()).costs == first
    assert len(costs._known) == 1


def test_measuring_changes_nothing() -> None:
    """Neither the mode of the model nor its running statistics."""
    trainer = Trainer(
        trial(model={"backbone": {"name": "small_resnet", "blocks": 1, "width": 4}}),
        prepared(),
        World.single(),
    )
    assert trainer.model.training
    fresh = {name: b for name, b in trainer.model.named_buffers() if name.endswith("running_mean")}
    assert all(torch.equal(mean, torch.zeros_like(mean)) for mean in fresh.values())
