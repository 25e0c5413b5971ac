"""Laws of mixing sources: shares, coverage, and what an epoch is."""

import itertools
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config.data import Mixing, Temperature
from trainables.training.batches import batch_bounds, epoch_order
from trainables.training.mixing import Draws, apportion, drawing, shares_of

COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=5)
RATIOS = st.lists(st.floats(0.01, 100), min_size=5, max_size=5)


def sources_of(counts: list[int]) -> dict[str, range]:
    ends = list(itertools.accumulate(counts))
    return {f"s{n}": range(end - count, end) for n, (end, count) in enumerate(zip(ends, counts, strict=True))}


def draws(mixing: Mixing, counts: list[int], epoch: int = 0, batch: int = 8, seed: int = 1) -> Draws:
    total = sum(counts)
    bounds = batch_bounds(total, batch)
    return drawing(mixing, sources_of(counts), torch.arange(total), seed, bounds)(epoch)


def ratios(numbers: list[float], counts: list[int]) -> Mixing:
    return dict(zip(sources_of(counts), numbers, strict=False))


@settings(deadline=None)
@given(numbers=RATIOS, count=st.integers(1, 400), batch=st.integers(1, 40))
def test_every_batch_boundary_keeps_the_ratio_to_less_than_one_image(
    numbers: list[float], count: int, batch: int
) -> None:
    total = sum(map(Fraction, numbers))
    shares = [Fraction(number) / total for number in numbers]
    bounds = batch_bounds(count, batch)
    drawn = apportion(shares, bounds)
    for bound, counts in zip(bounds, drawn, strict=True):
        assert sum(counts) == bound
        assert all(abs(own - share * bound) < 1 for own, share in zip(counts, shares, strict=True))
    for before, after in itertools.pairwise(drawn):
        assert all(one <= other for one, other in zip(before, after, strict=True))


@settings(deadline=None)
@given(counts=COUNTS, numbers=RATIOS, epoch=st.integers(0, 5))
def test_each_row_is_drawn_as_often_as_the_others_of_its_source(
    counts: list[int], numbers: list[float], epoch: int
) -> None:
    found = draws(ratios(numbers, counts), counts, epoch)
    assert len(found.order) == sum(counts)
    times = torch.bincount(found.order, minlength=sum(counts))
    for own in sources_of(counts).values():
        of_source = times[own.start : own.stop]
        assert int(of_source.max() - of_source.min()) <= 1


@settings(deadline=None)
@given(counts=COUNTS, numbers=RATIOS, epochs=st.integers(1, 8))
def test_over_any_number_of_epochs_as_well(counts: list[int], numbers: list[float], epochs: int) -> None:
    mixing = ratios(numbers, counts)
    order = torch.cat([draws(mixing, counts, epoch).order for epoch in range(epochs)])
    times = torch.bincount(order, minlength=sum(counts))
    for own in sources_of(counts).values():
        of_source = times[own.start : own.stop]
        assert int(of_source.max() - of_source.min()) <= 1


@settings(deadline=None)
@given(counts=COUNTS, numbers=RATIOS, batch=st.integers(1, 20))
def test_turns_count_how_often_a_row_came_before(counts: list[int], numbers: list[float], batch: int) -> None:
    found = draws(ratios(numbers, counts), counts, batch=batch)
    assert found.turns is not None
    seen: dict[int, int] = {}
    for row, turn in sorted(zip(found.order.tolist(), found.turns.tolist(), strict=True)):
        assert turn == seen.get(row, 0)
        seen[row] = turn + 1


@given(counts=COUNTS)
def test_proportional_is_one_pass_in_the_order_of_a_single_source(counts: list[int]) -> None:
    found = draws("proportional", counts, epoch=3)
    assert torch.equal(found.order, epoch_order(sum(counts), 1, 3))
    assert found.turns is None


@given(counts=COUNTS)
def test_temperature_lies_between_proportional_and_uniform(counts: list[int]) -> None:
    named = {name: len(own) for name, own in sources_of(counts).items()}
    assert shares_of(Temperature(temperature=1.0), named) == shares_of("proportional", named)
    hot = shares_of(Temperature(temperature=1e12), named)
    assert [float(share) for share in hot.values()] == pytest.approx([1 / len(named)] * len(named))
    assert set(shares_of("uniform", named).values()) == {Fraction(1, len(named))}
    warm = shares_of(Temperature(temperature=3.0), named)
    assert sum(warm.values()) == 1


@pytest.mark.parametrize("mixing", ["uniform", {"s0": 1, "s1": 3}, Temperature(temperature=2.0)])
def test_draws_belong_to_seed_and_epoch(mixing: Any) -> None:
    counts = [30, 90]
    first = draws(mixing, counts, 2)
    assert torch.equal(first.order, draws(mixing, counts, 2).order)
    assert not torch.equal(first.order, draws(mixing, counts, 3).order)
    assert not torch.equal(first.order, draws(mixing, counts, 2, seed=2).order)


def test_a_source_whose_training_images_are_all_gone_is_left_out() -> None:
    sources = sources_of([10, 4, 10])
    rows = torch.tensor([*range(10), *range(14, 24)])
    found = drawing("uniform", sources, rows, 0, [0, 10, 20])(0)
    assert sorted(found.order.tolist()) == list(range(20))


def test_batches_are_not_sorted_by_source() -> None:
    found = draws("uniform", [64, 64], batch=32)
    of_first = found.order[:32] < 64
    assert int(of_first.sum()) == 16
    assert int(of_first[:16].sum()) not in (0, 16)
