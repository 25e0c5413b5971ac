"""What only a GPU can show."""

import pytest
import torch

from tests.trainables.synthetic import prepared, trial
from trainables.training.trainer import Trainer
from trainables.training.world import World

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

MLP = {
    "backbone": {"name": "small_resnet", "blocks": 1},
    "heads": {"default": {"kind": "mlp", "hidden": [8], "dropout": 0.2}},
}


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_training_and_resuming(precision: str) -> None:
    config = trial(model=MLP, training={"epochs": 3, "batch_size": 16, "precision": precision, "ema": 0.9})
    trainer = Trainer(config, prepared(), World.single("cuda"))
    trainer.run_epoch()
    middle = trainer.state_dict()
    expected = [trainer.run_epoch().metrics for _ in range(2)]
    resumed = Trainer(config, prepared(), World.single("cuda"))
    resumed.load_state_dict(middle)
    for metrics in expected:
        assert resumed.run_epoch().metrics == pytest.approx(metrics, abs=1e-3)


def test_fp64_agrees_with_the_cpu() -> None:
    config = trial(training={"epochs": 2, "batch_size": 16, "precision": "fp64"})
    metrics = []
    for device in ("cpu", "cuda"):
        trainer = Trainer(config, prepared(), World.single(device))
        metrics.append([trainer.run_epoch().metrics for _ in range(2)])
    for ours, theirs in zip(*metrics, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
