"""Quasi-random draws: uniform as random ones, and more even."""

import itertools
import statistics
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from search_spaces.domains import Choice, Uniform
from search_spaces.quasi_random import sobol_points
from search_spaces.simplex import Simplex
from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester
from tests.search_spaces.spaces import conditional_spaces
from tests.search_spaces.test_domains import kolmogorov_smirnov

SEEDS = st.integers(0, 2**70)


def proposals(space: SearchSpace, count: int, seed: int) -> list[dict[str, Any]]:
    points = sobol_points(space.drawn_names(), seed=seed)
    return [space.suggest(point) for point in itertools.islice(points, count)]


@settings(max_examples=40)
@given(conditional_spaces(), SEEDS)
def test_every_proposal_is_of_the_space(space: SearchSpace, seed: int) -> None:
    assert all(values in space for values in proposals(space, 16, seed))


@settings(max_examples=40)
@given(conditional_spaces(), SEEDS)
def test_conditions_move_no_coordinate(space: SearchSpace, seed: int) -> None:
    """What is active has the value that it would have if everything were."""
    free = SearchSpace({key: domain.model_copy(update={"when": {}}) for key, domain in space.domains.items()})
    for values, all_values in zip(proposals(space, 16, seed), proposals(free, 16, seed), strict=True):
        assert values == {key: all_values[key] for key in values}


@settings(max_examples=40)
@given(conditional_spaces(), SEEDS, st.integers(1, 16))
def test_a_longer_sequence_extends_a_shorter_one(space: SearchSpace, seed: int, count: int) -> None:
    assert proposals(space, 16, seed)[:count] == proposals(space, count, seed)


def cube(dimensions: int) -> SearchSpace:
    return SearchSpace({f"x{number}": Uniform(float=(0.0, 1.0)) for number in range(dimensions)})


@pytest.mark.parametrize("dimensions", [2, 5, 8])
def test_64_points_are_more_even_than_random_ones(dimensions: int) -> None:
    space = cube(dimensions)

    def discrepancy(points: list[dict[str, Any]]) -> float:
        return float(qmc.discrepancy(np.array([list(point.values()) for point in points])))

    quasi = statistics.mean(discrepancy(proposals(space, 64, seed)) for seed in range(20))
    rest = statistics.mean(
        discrepancy([space.suggest(RandomSuggester(seed, number)) for number in range(64)])
        for seed in range(20)
    )
    assert quasi < rest / 2


@pytest.mark.parametrize("count", [16, 32, 64])
@pytest.mark.parametrize("options", [2, 3, 4, 5, 7, 8, 11])
def test_every_option_comes_as_often_as_it_should(options: int, count: int) -> None:
    choice = Choice(choice=tuple(range(options)))
    space = SearchSpace({"a": choice, "b.c": choice, "d": choice, **cube(2).domains})
    for seed, key in itertools.product(range(5), ("a", "b.c", "d")):
        times = Counter(values[key] for values in proposals(space, count, seed))
        apart = [abs(times[option] - count / options) for option in range(options)]
        assert max(apart) == 0 if count % options == 0 else max(apart) < 2


def test_a_range_under_a_condition_is_drawn_uniformly() -> None:
    mlp = {"kind": ("mlp",)}
    space = SearchSpace(
        {"kind": Choice(choice=("linear", "mlp", "deep")), "dropout": Uniform(float=(0.0, 1.0), when=mlp)}
    )
    for seed in range(5):
        drawn = [values["dropout"] for values in proposals(space, 256, seed) if "dropout" in values]
        assert len(drawn) == pytest.approx(256 / 3, abs=2)
        assert kolmogorov_smirnov(drawn) < 1.0


@pytest.mark.parametrize("floor", [0.0, 0.1])
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_a_simplex_is_drawn_uniformly(tasks: int, floor: float) -> None:
    """With the moments of Dirichlet(1, …, 1), to within a fifth of what random draws would be off by."""
    names = tuple("abcde"[:tasks])
    space = SearchSpace({"weights": Simplex(simplex=names, min=floor)})
    drawn = [list(values["weights"].values()) for values in proposals(space, 1024, 0)]
    pieces = (np.array(drawn) - floor) / (1 - tasks * floor)
    assert pieces.mean(0) == pytest.approx(np.full(tasks, 1 / tasks), abs=1.5e-3)
    scale = 1 / (tasks**2 * (tasks + 1))
    assert np.cov(pieces.T) == pytest.approx(scale * (tasks * np.eye(tasks) - 1), abs=2e-3)
    for piece in pieces.T:
        assert kolmogorov_smirnov([float(1 - (1 - part) ** (tasks - 1)) for part in piece]) < 1.0
