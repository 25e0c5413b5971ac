"""What workers send each other: sums are the same bits on each of them, rows come back once and in order."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.contracts.group import Group
from trainables.training.world import FEW_BYTES, MOST_BYTES, World


def gather(world: World, rows: int) -> Tensor:
    start, stop = world.part(rows)
    bounds = world.bounds(rows)
    counts = [bounds[r + 1] - bounds[r] for r in range(world.size)]
    return world.all_gather_rows(torch.arange(start, stop, dtype=torch.float64)[:, None] * 2, counts)


def test_rows_come_back_in_order_each_exactly_once(group: Group) -> None:
    for rows in (1, 2, 7, 100):
        for gathered in group.run(3, gather, rows, shares=[0.1, 0.0, 0.9]):
            assert torch.equal(gathered.flatten(), torch.arange(rows, dtype=torch.float64) * 2)


def add_up(world: World, numbers: list[int], dtype: torch.dtype) -> list[Tensor]:
    sums = []
    for count in numbers:
        own = (torch.arange(count, dtype=torch.float64) * (world.rank + 1)).sin().mul(1000).to(dtype)
        assert world.all_reduce_sum(own) is own
        sums.append(own)
    single = torch.tensor(world.rank + 1)
    return [*sums, world.all_reduce_sum(single)]


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_sums_are_the_same_bits_on_every_worker(group: Group, workers: int, dtype: torch.dtype) -> None:
    """Few bytes and many, which are added up in different ways, nothing at all, and one number."""
    numbers = [0, 1, FEW_BYTES // 4, FEW_BYTES // 4 + 1, MOST_BYTES // 4 + 1]
    found = group.run(workers, add_up, numbers, dtype)
    for count, *sums in zip([*numbers, None], *found, strict=True):
        assert all(torch.equal(sums[0], other) for other in sums)
        if count is None:
            assert sums[0].item() == workers * (workers + 1) // 2
            continue
        parts = [
            (torch.arange(count, dtype=torch.float64) * r).sin().mul(1000).to(dtype)
            for r in range(1, workers + 1)
        ]
        expected = torch.stack(parts).double().sum(0)
        torch.testing.assert_close(sums[0].double(), expected, rtol=1e-6, atol=1e-3)


def test_parts_cover_everything_whatever_the_shares() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        size = int(generator.integers(1, 9))
        count = int(generator.integers(0, 50))
        shares = generator.random(size).tolist()
        parts = [World(rank, size, torch.device("cpu"), shares).part(count) for rank in range(size)]
        assert parts[0][0] == 0
        assert parts[-1][1] == count
        assert all(left[1] == right[0] for left, right in pairwise(parts))
