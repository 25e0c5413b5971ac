"""Randomness is a function of what it is for."""

import pytest
import torch
from torch import Tensor, nn

from trainables.model.keyed import (
    KeyedDropout,
    StepContext,
    derived_seed,
    unkeyed_randomness,
    use_keyed_randomness,
)


def network(*layers: nn.Module) -> tuple[nn.Module, StepContext]:
    context = StepContext(7)
    net = nn.Sequential(*layers)
    use_keyed_randomness(net, context)
    return net.train(), context


def test_seeds_depend_on_every_part() -> None:
    keys: list[tuple[int | str, ...]] = [
        (1, 2, "a"),
        (1, 2, "b"),
        (1, 3, "a"),
        (2, 2, "a"),
        (12, "a"),
        ("1", 2, "a"),
    ]
    assert len({derived_seed(*key) for key in keys}) == len(keys)
    assert derived_seed(1, 2, "a") == derived_seed(1, 2, "a")
    assert 0 <= derived_seed("x") < 2**63


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout2d(0.5)], ids=["dropout", "dropout2d"])
def test_masks_are_slices_of_the_global_mask(layer: nn.Module) -> None:
    net, context = network(layer)
    x = torch.ones(12, 3, 4, 4)
    context.begin(1, 2, 0, 12, 12)
    whole = net(x)
    assert 0 < (whole == 0).float().mean() < 1
    assert set(whole.unique().tolist()) == {0.0, 2.0}
    parts = []
    for start, stop in ((0, 5), (5, 6), (6, 12)):
        context.begin(1, 2, start, stop, 12)
        parts.append(net(x[start:stop]))
    assert torch.equal(torch.cat(parts), whole)
    context.begin(1, 3, 0, 12, 12)
    assert not torch.equal(net(x), whole)


def test_a_layer_used_twice_draws_twice_and_layers_differ() -> None:
    dropout = nn.Dropout(0.5)
    net, context = network(nn.Identity(), dropout, nn.Dropout(0.5))
    assert isinstance(net, nn.Sequential)
    x = torch.ones(4, 50)
    context.begin(0, 0, 0, 4, 4)
    first, second, other = net[1](x), net[1](x), net[2](x)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    context.begin(0, 0, 0, 4, 4)
    assert torch.equal(net[1](x), first)
    assert torch.equal(net[1](x), second)


def test_evaluation_is_the_identity() -> None:
    net, _ = network(nn.Dropout(0.9))
    x = torch.rand(3, 4)
    assert net.eval()(x) is x


def test_dropout_of_windows_belongs_to_their_example() -> None:
    net, context = network(nn.Dropout(0.5))
    x = torch.ones(6 * 4, 10)  # four windows per example
    context.begin(0, 0, 0, 6, 6)
    whole = net(x)
    context.begin(0, 0, 2, 5, 6)
    assert torch.equal(net(x[8:20]), whole[8:20])


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def test_what_cannot_be_keyed_is_named() -> None:
    torch.manual_seed(0)  # RReLU draws for negative numbers only: one net in 150 has none
    net, context = network(
        nn.Dropout(0.5), nn.Sequential(nn.Linear(4, 4), nn.RReLU()), nn.BatchNorm1d(4), Noisy()
    )
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = torch.rand(3, 4)
    state = torch.get_rng_state()
    assert unkeyed_randomness(net, context, images) == ["1.1", "3"]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    quiet, context = network(nn.Dropout(0.5), nn.Linear(4, 4))
    assert unkeyed_randomness(quiet, context, torch.rand(3, 4)) == []


def test_torchvisions_stochastic_depth_is_replaced() -> None:
    from torchvision.ops import StochasticDepth

    for mode, values in (("row", {0.0, 2.0}), ("batch", None)):
        net, context = network(StochasticDepth(0.5, mode))
        context.begin(0, 0, 0, 64, 64)
        out = net(torch.ones(64, 2, 2, 2))
        per_example = out.flatten(1)
        assert (per_example == per_example[:, :1]).all()
        if values is None:
            assert len(per_example.unique()) == 1
        else:
            assert set(per_example.unique().tolist()) == values
        assert not isinstance(net.get_submodule("0"), StochasticDepth)
    assert isinstance(network(nn.Dropout(0.1))[0].get_submodule("0"), KeyedDropout)


class OwnDropout(nn.Dropout):
    """Drops in its own way."""


def test_derived_dropout_is_left_and_named() -> None:
    net, context = network(OwnDropout(0.5), nn.Dropout(0.5))
    assert type(net.get_submodule("0")) is OwnDropout
    assert unkeyed_randomness(net, context, torch.rand(3, 4)) == ["0"]
