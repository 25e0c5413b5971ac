"""Laws of trade-offs, for any number of objectives, then values worked by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.report.pareto import (
    Direction,
    Values,
    balanced,
    direction,
    hypervolume,
    non_dominated,
    objective_values,
    reference_point,
)

COORDINATES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Values, list[Direction]]:
    trials, objectives = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    values = draw(arrays(np.float64, (trials, objectives), elements=COORDINATES))
    directions: list[Direction] = [draw(st.sampled_from(["max", "min"])) for _ in range(objectives)]
    return values, directions


def _dominates(one: Values, other: Values, directions: list[Direction]) -> bool:
    signed = [(a, b) if side == "max" else (b, a) for a, b, side in zip(one, other, directions, strict=True)]
    return all(a >= b for a, b in signed) and any(a > b for a, b in signed)


@given(problems())
def test_front_is_what_nothing_dominates(problem: tuple[Values, list[Direction]]) -> None:
    values, directions = problem
    front = non_dominated(values, directions)
    for row, on_front in enumerate(front):
        assert on_front == (not any(_dominates(other, values[row], directions) for other in values))


@given(problems(), st.randoms(use_true_random=False))
def test_permuting_trials_permutes_the_front(problem: tuple[Values, list[Direction]], random: object) -> None:
    values, directions = problem
    order = np.random.default_rng(len(values)).permutation(len(values))
    assert (non_dominated(values[order], directions) == non_dominated(values, directions)[order]).all()


@given(problems())
def test_permuting_objectives_changes_nothing(problem: tuple[Values, list[Direction]]) -> None:
    values, directions = problem
    turned, sides = values[:, ::-1], directions[::-1]
    assert (non_dominated(turned, sides) == non_dominated(values, directions)).all()
    reference = [0.0 if side == "max" else 1.0 for side in directions]
    assert hypervolume(turned, sides, reference[::-1]) == pytest.approx(
        hypervolume(values, directions, reference)
    )


@given(problems())
def test_unmeasured_trials_change_nothing(problem: tuple[Values, list[Direction]]) -> None:
    values, directions = problem
    unmeasured = values[:1].copy()
    unmeasured[0, 0] = np.nan
    more = np.concatenate([values, unmeasured])
    assert non_dominated(more, directions).tolist() == [*non_dominated(values, directions).tolist(), False]
    reference = [0.0 if side == "max" else 1.0 for side in directions]
    assert hypervolume(more, directions, reference) == hypervolume(values, directions, reference)


@given(problems())
def test_a_minimised_objective_is_a_mirrored_maximised_one(problem: tuple[Values, list[Direction]]) -> None:
    values, directions = problem
    signs = np.array([1.0 if side == "max" else -1.0 for side in directions])
    all_max: list[Direction] = ["max"] * len(directions)
    assert (non_dominated(values * signs, all_max) == non_dominated(values, directions)).all()


@settings(max_examples=60)
@given(problems())
def test_hypervolume_is_inclusion_exclusion(problem: tuple[Values, list[Direction]]) -> None:
    values, directions = problem
    signs = np.array([1.0 if side == "max" else -1.0 for side in directions])
    reference = np.array([0.0 if side == "max" else 1.0 for side in directions])
    edges = (values - reference) * signs
    expected = 0.0
    for size in range(1, len(edges) + 1):
        for subset in itertools.combinations(range(len(edges)), size):
            expected += (-1) ** (size + 1) * edges[list(subset)].min(axis=0).prod()
    assert hypervolume(values, directions, list(reference)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "reference", "volume"),
    [
        pytest.param([[0.5, 0.5]], [0, 0], 0.25, id="one"),
        pytest.param([[1, 0.5], [0.5, 1]], [0, 0], 0.75, id="two"),
        pytest.param([[1, 0.5], [1, 0.5]], [0, 0], 0.5, id="equal"),
        pytest.param([[1, 0.5], [-1, 2]], [0, 0], 0.5, id="beyond-the-reference"),
        pytest.param([[0, 0]], [0, 0], 0.0, id="at-the-reference"),
        pytest.param([[2, 1, 1], [1, 2, 1], [1, 1, 2]], [0, 0, 0], 4.0, id="three"),
        pytest.param([[0.5] * 6], [0] * 6, 0.5**6, id="six"),
    ],
)
def test_hypervolumes_by_hand(values: list[list[float]], reference: list[float], volume: float) -> None:
    sides: list[Direction] = ["max"] * len(reference)
    assert hypervolume(np.array(values, dtype=float), sides, reference) == pytest.approx(volume)


def test_hypervolume_of_many_points_agrees_with_sampling() -> None:
    draw = np.random.default_rng(0)
    values = draw.random((30, 4))
    points = draw.random((100_000, 4))
    covered = np.zeros(len(points), dtype=bool)
    for value in values:
        covered |= (points <= value).all(axis=1)
    assert hypervolume(values, ["max"] * 4, [0.0] * 4) == pytest.approx(covered.mean(), abs=0.01)


def test_ties_stay_together() -> None:
    assert non_dominated(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), ["max", "max"]).all()


def test_no_trials_have_no_front() -> None:
    nothing = objective_values([], ["left.accuracy", "right.accuracy"])
    assert non_dominated(nothing, ["max", "max"]).tolist() == []
    assert hypervolume(nothing, ["max", "max"], [0, 0]) == 0
    assert balanced(nothing, ["max", "max"]) is None


@given(problems())
def test_the_balanced_choice_is_on_the_front(problem: tuple[Values, list[Direction]]) -> None:
    values, directions = problem
    row = balanced(values, directions)
    assert row is not None
    assert non_dominated(values, directions)[row]


@pytest.mark.parametrize(
    ("values", "choice"),
    [
        pytest.param([[1, 0], [0.6, 0.6], [0, 1]], 1, id="middle"),
        pytest.param([[1, 0], [0.9, 0.3], [0.5, 0.6], [0, 1]], 2, id="the-worst-task-counts"),
        pytest.param([[100, 0.0], [60, 0.6], [0, 1]], 1, id="scales-do-not-matter"),
        pytest.param([[0.9, 0.2], [0.2, 0.8]], 0, id="ties-by-sum"),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], 0, id="equal"),
        pytest.param([[np.nan, 1], [0.1, 0.1]], 1, id="measured"),
    ],
)
def test_balanced_choice(values: list[list[float]], choice: int) -> None:
    assert balanced(np.array(values, dtype=float), ["max", "max"]) == choice


def test_directions_and_references() -> None:
    names = ["score", "left.accuracy", "left.loss", "left.ece"]
    assert [direction(name) for name in names] == ["max", "max", "min", "min"]
    values = np.array([[0.5, 0.5, 2.0, 0.1], [0.5, 0.5, 3.0, 0.1], [0.5, 0.5, np.inf, 0.1]])
    assert reference_point(values, names) == {
        "score": 0.0,
        "left.accuracy": 0.0,
        "left.loss": 3.0,
        "left.ece": 1.0,
    }
