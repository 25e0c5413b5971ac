"""Which layers may see the global batch; that they compute it right is a contract of N workers."""

import pytest
import torch
from torch import nn

from tests.trainables.calls import Called
from trainables.errors import ModelError
from trainables.model.batch_norm import GlobalBatchNorm, use_global_batch_norm
from trainables.model.keyed import StepContext
from trainables.training.world import World


class ActivatedNorm(nn.BatchNorm2d):
    """Does more than normalise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


def test_derived_layers_are_refused_by_name() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.Conv2d(3, 3, 1), ActivatedNorm(3)))
    use_global_batch_norm(net, World.single(), StepContext(0))
    assert type(net[0]) is nn.BatchNorm2d
    with pytest.raises(ModelError, match=r"1\.1 is a ActivatedNorm"):
        use_global_batch_norm(net, World(0, 2, torch.device("cpu")), StepContext(0))


def test_a_layer_that_is_used_twice_is_replaced_in_both_places() -> None:
    shared = nn.BatchNorm1d(3)
    net = nn.Sequential(shared, nn.Sequential(shared))
    use_global_batch_norm(net, World(0, 2, torch.device("cpu")), StepContext(0))
    for path in ("0", "1.0"):
        replaced = net.get_submodule(path)
        assert isinstance(replaced, GlobalBatchNorm)
        assert replaced.weight is shared.weight


def test_one_value_has_no_variance() -> None:
    context = StepContext(0)
    layer = GlobalBatchNorm(nn.BatchNorm1d(3), World.single(), context)
    context.begin(0, 0, 0, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(torch.rand(1, 3))
    context.begin(0, 0, 0, 2, 2)
    assert layer(torch.rand(2, 3)).isfinite().all()


def test_no_number_is_sent_to_the_device() -> None:
    """Each one would make a GPU wait, in every layer of every step."""
    context = StepContext(0)
    layer = GlobalBatchNorm(nn.BatchNorm1d(3), World.single(), context)
    context.begin(0, 0, 0, 2, 2)
    with Called() as called:
        layer(torch.rand(2, 3))
    assert "cat" in called.names
    assert not {"new_tensor", "tensor", "as_tensor"} & called.names
