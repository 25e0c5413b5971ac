"""Laws of every domain, then the forms and their messages."""

import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from search_spaces.domains import Choice, Domain, Integer, LogInteger, LogUniform, Uniform
from search_spaces.simplex import Simplex
from search_spaces.suggesters import RandomSuggester
from search_spaces.values import identity
from tests.search_spaces.spaces import DOMAIN, domains


class Fixed:
    """Answers with given draws, and complains of one out of range."""

    def __init__(self, draws: dict[str, float]):
        self._draws = draws

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        assert low <= self._draws[name] <= high
        return self._draws[name]

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self.number(name, low, high))

    def option(self, name: str, count: int) -> int:
        return int(self.number(name, 0, count - 1))


@given(domains(), st.integers(0, 2**32), st.integers(0, 1000))
def test_a_draw_is_a_value_of_the_domain(domain: Domain, seed: int, number: int) -> None:
    assert domain.contains(domain.suggest("key", RandomSuggester(seed, number)))


@given(domains(), st.integers(0, 1000))
def test_what_suggest_makes_of_the_located_draws_is_the_value(domain: Domain, number: int) -> None:
    value = domain.suggest("key", RandomSuggester(0, number))
    again = domain.suggest("key", Fixed(domain.locate("key", value)))
    if isinstance(domain, Simplex):
        assert again == pytest.approx(value, abs=1e-9)
    else:
        assert again == value


class Noting(RandomSuggester):
    """Notes the names that it is asked for."""

    def __init__(self) -> None:
        super().__init__(0, 0)
        self.names: list[str] = []

    def _uniform(self, name: str) -> float:
        self.names.append(name)
        return super()._uniform(name)


@given(domains())
def test_the_names_of_the_draws_are_known_before(domain: Domain) -> None:
    noting = Noting()
    domain.suggest("key", noting)
    assert tuple(noting.names) == domain.drawn_names("key")


@given(domains())
def test_a_grid_has_values_of_the_domain_without_repetition(domain: Domain) -> None:
    points = domain.grid()
    assert points
    assert all(domain.contains(point) for point in points)
    assert len({identity(point) for point in points}) == len(points)
    for point in points:
        domain.suggest("key", Fixed(domain.locate("key", point)))


@given(domains())
def test_a_domain_is_what_its_own_text_says(domain: Domain) -> None:
    written = TypeAdapter(Domain).dump_python(domain, mode="json")
    assert DOMAIN.validate_python(written) == domain


@given(domains(), st.integers(0, 100))
def test_equal_keys_draw_equal_values(domain: Domain, number: int) -> None:
    first, second = (domain.suggest("key", RandomSuggester(3, number)) for _ in range(2))
    assert first == second


def test_the_grids_of_ranges() -> None:
    assert Uniform(float=(0.0, 1.0)).grid() == (0.0, 0.5, 1.0)
    assert Uniform(float=(0.0, 1.0), points=5).grid() == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert LogUniform(log=(1e-4, 1e-2)).grid() == pytest.approx((1e-4, 1e-3, 1e-2))
    assert Integer(int=(1, 10)).grid() == tuple(range(1, 11))
    assert Integer(int=(0, 90)).grid() == tuple(range(0, 91, 10))
    assert Integer(int=(0, 90), points=2).grid() == (0, 90)
    assert LogInteger(log_int=(1, 1000), points=4).grid() == (1, 10, 100, 1000)


@pytest.mark.parametrize(("count", "points"), [(2, 2), (2, 5), (3, 5), (4, 3)])
def test_the_grid_of_a_simplex_is_its_lattice(count: int, points: int) -> None:
    grid = Simplex(simplex=tuple("abcd"[:count]), min=0.1, points=points).grid()
    assert len(grid) == math.comb(points - 1 + count - 1, count - 1)
    corner = dict.fromkeys("abcd"[:count], 0.1) | {"a": 1 - 0.1 * (count - 1)}
    assert any(point == pytest.approx(corner) for point in grid)


def draws(domain: Domain, count: int) -> list[Any]:
    return [domain.suggest("key", RandomSuggester(11, number)) for number in range(count)]


def kolmogorov_smirnov(uniform: list[float]) -> float:
    """√n · the largest distance of the empirical distribution from the uniform: below 1.95 in 99.9 %."""
    n = len(uniform)
    ranked = sorted(uniform)
    return math.sqrt(n) * max(max(u - i / n, (i + 1) / n - u) for i, u in enumerate(ranked))


@pytest.mark.parametrize("floor", [0.0, 0.05, 0.2])
def test_a_simplex_is_drawn_uniformly(floor: float) -> None:
    # Of Dirichlet(1, …, 1) over T parts each part is Beta(1, T-1), and so is any part of those that are left.
    names = ("a", "b", "c", "d")
    pieces = [
        {name: (weight - floor) / (1 - 4 * floor) for name, weight in weights.items()}
        for weights in draws(Simplex(simplex=names, min=floor), 4000)
    ]
    for name in names:
        assert kolmogorov_smirnov([1 - (1 - piece[name]) ** 3 for piece in pieces]) < 1.95
    for one, other in [("a", "b"), ("a", "d"), ("c", "d")]:
        share = [piece[one] / (piece[one] + piece[other]) for piece in pieces]  # independent of the sum
        assert kolmogorov_smirnov(share) < 1.95
        assert statistics.correlation(
            share, [piece[one] + piece[other] for piece in pieces]
        ) == pytest.approx(0, abs=0.06)


def test_ranges_are_drawn_uniformly() -> None:
    assert kolmogorov_smirnov([u / 4 + 0.5 for u in draws(Uniform(float=(-2.0, 2.0)), 3000)]) < 1.95
    logs = [(math.log10(u) + 5) / 3 for u in draws(LogUniform(log=(1e-5, 1e-2)), 3000)]
    assert kolmogorov_smirnov(logs) < 1.95
    counts = statistics.multimode(draws(Integer(int=(1, 6)), 3000))
    assert set(draws(Integer(int=(1, 6)), 100)) == {1, 2, 3, 4, 5, 6}
    assert len(counts) < 6
    small = sum(value <= 10 for value in draws(LogInteger(log_int=(1, 100)), 3000)) / 3000
    assert small == pytest.approx(math.log(10.5 / 0.5) / math.log(100.5 / 0.5), abs=0.03)


def test_a_list_in_when_lists_allowed_values() -> None:
    domain = Choice.model_validate({"choice": [1], "when": {"a": "x", "b": ["x", 2], "c": [[128], []]}})
    assert domain.when == {"a": ("x",), "b": ("x", 2), "c": ([128], [])}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ([1, 2], "expected one of {choice: [values]}, {float: [low, high]}"),
        ({"uniform": [0, 1]}, "{simplex: [task names], min: 0.05}"),
        ({"float": [1, 1]}, "the first bound must be below the second, but 1 ≥ 1"),
        ({"float": ["0", 1]}, "valid number"),
        ({"float": [0, math.inf]}, "finite"),
        ({"float": [0, 1, 2]}, "at most 2"),
        ({"log": [0, 1]}, "logarithms need bounds above 0, not 0"),
        ({"int": [0.5, 2]}, "valid integer"),
        ({"log_int": [0, 3]}, "above 0"),
        ({"choice": []}, "at least 1"),
        ({"choice": [1, 2, 1.0]}, "the choice 1.0 is given twice"),
        ({"choice": [1], "float": [0, 1]}, "Extra inputs are not permitted"),
        ({"choice": [1], "when": {"a": []}}, "For the empty list as a value write [[]]"),
        ({"choice": [1], "wenn": {"a": 1}}, "Extra inputs are not permitted"),
        ({"simplex": ["a"]}, "at least 2"),
        ({"simplex": ["a", "b", "a"]}, "named twice: a"),
        ({"simplex": ["a", "b"], "min": 0.5}, "min must be below 1 / 2 names = 0.5, not 0.5"),
        ({"float": [0, 1], "points": 1}, "greater than or equal to 2"),
    ],
)
def test_a_wrong_form_gets_one_message(form: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DOMAIN.validate_python(form)
    (error,) = caught.value.errors()
    assert message in error["msg"]
