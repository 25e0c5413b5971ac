from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.training.batches import batch_bounds, epoch_order


@given(count=st.integers(1, 500), size=st.integers(1, 64))
def test_every_example_once_and_no_batch_of_one(count: int, size: int) -> None:
    bounds = batch_bounds(count, size)
    sizes = [b - a for a, b in pairwise(bounds)]
    assert sum(sizes) == count
    assert bounds[0] == 0
    assert all(0 < n <= size + 1 for n in sizes)
    assert len(sizes) == 1 or size == 1 or sizes[-1] > 1


def test_the_order_belongs_to_seed_and_epoch() -> None:
    order = epoch_order(50, 3, 4)
    assert sorted(order.tolist()) == list(range(50))
    assert torch.equal(order, epoch_order(50, 3, 4))
    assert not torch.equal(order, epoch_order(50, 3, 5))
    assert not torch.equal(order, epoch_order(50, 2, 4))
