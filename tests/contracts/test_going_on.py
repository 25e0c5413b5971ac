"""A training goes on with another number of workers as if nothing had been."""

import pytest
import torch

from tests.contracts.group import Group
from tests.contracts.methods import SECTIONS
from tests.contracts.test_workers import case, differences
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData
from trainables.training.state import TrainState
from trainables.training.trainer import Trainer
from trainables.training.world import World

EPOCHS = 4
SHARES = [0.5, 0.2, 0.3]


def go_on(
    world: World, config: TrialConfig, data: PreparedData, state: TrainState | None, epochs: int
) -> TrainState:
    """So many epochs from `state`, or from the beginning."""
    trainer = Trainer(config, data, world, state=state)
    for _ in range(epochs):
        trainer.run_epoch()
    return trainer.state_dict()


@pytest.mark.parametrize("method", SECTIONS)
def test_another_number_of_workers_goes_on_alike(group: Group, method: str) -> None:
    """Two epochs on one worker and two on three, and the other way round: parameters and states of methods."""
    config, data = case("small_cnn", method, training={"epochs": EPOCHS, "batch_size": 31})  # 3 steps each
    alone = World.single()
    expected = go_on(alone, config, data, None, EPOCHS).tensors
    halfway = go_on(alone, config, data, None, EPOCHS // 2)
    more = group.run(3, go_on, config, data, halfway, EPOCHS // 2, shares=SHARES)
    several = group.run(3, go_on, config, data, None, EPOCHS // 2, shares=SHARES)
    fewer = go_on(alone, config, data, several[0], EPOCHS // 2)
    for state in (*more, fewer):
        worst = differences(expected, state.tensors)
        assert max(worst.values()) < 1e-6, max(worst, key=lambda name: worst[name])
    first = more[0].tensors
    assert all(torch.equal(first[name], other.tensors[name]) for other in more for name in first)
    moved = differences(halfway.tensors, expected)
    assert moved["model/backbone.conv1.weight"] > 1e-6  # or there would be nothing to compare
