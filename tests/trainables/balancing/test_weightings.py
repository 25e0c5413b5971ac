"""Weights from Gramians: published cases, and a second route to the same weights (TorchJD, or a conic solver)."""

from typing import Any

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchjd import aggregation

from trainables.balancing import bargaining
from trainables.balancing.balancer import NoWeights
from trainables.balancing.build import GramianConfig, build_weighting
from trainables.balancing.double_sampling import MoDo, SDMGrad, onto_simplex
from trainables.balancing.gramian import Gradients
from trainables.config import balancing as config

Array = NDArray[np.float64]

WEIGHTINGS: dict[str, GramianConfig] = {
    "mgda": config.MGDABalancing(),
    "mgda, l2": config.MGDABalancing(normalize="l2"),
    "pcgrad": config.PCGradBalancing(),
    "gradvac": config.GradVacBalancing(),
    "cagrad": config.CAGradBalancing(),
    "imtl_g": config.IMTLGBalancing(),
    "nash_mtl": config.NashMTLBalancing(),
    "aligned_mtl": config.AlignedMTLBalancing(),
    "fairgrad": config.FairGradBalancing(),
    "fairgrad, 2": config.FairGradBalancing(alpha=2.0),
    "upgrad": config.UPGradBalancing(),
    "dualproj": config.DualProjBalancing(),
    "con_fig": config.ConFIGBalancing(),
}
NEED_A_BARGAIN = ("nash_mtl", "fairgrad", "fairgrad, 2")
"""Without solution where gradients cancel."""


def gradients(matrix: Array, seed: int = 0) -> Gradients:
    """What a weighting is told of the rows of `matrix` (T, P)."""
    gramian = matrix @ matrix.T
    scale = float(np.trace(gramian))
    normal = gramian / scale if scale > 0 else gramian
    return Gradients(normal, scale, np.arange(len(matrix)), np.random.default_rng(seed), np.ones(len(matrix)))


def weigh(section: GramianConfig, matrix: Array, seed: int = 0) -> Array:
    return build_weighting(section, len(matrix)).weigh(gradients(matrix, seed))


def random_rows(tasks: int, seed: int, spread: float = 1.0) -> Array:
    """(T, 3T) rows whose lengths differ by up to 10^(2·spread)."""
    random = np.random.default_rng(seed)
    lengths = 10 ** random.uniform(-spread, spread, (tasks, 1))
    rows: Array = random.normal(size=(tasks, 3 * tasks)) * lengths
    return rows


# A second route


TORCHJD: dict[str, Any] = {
    "mgda": lambda: aggregation.MGDAWeighting(epsilon=1e-9, max_iters=20_000),
    "imtl_g": aggregation.IMTLGWeighting,
    "aligned_mtl": aggregation.AlignedMTLWeighting,
    "fairgrad": lambda: aggregation.FairGradWeighting(alpha=1.0),
    "fairgrad, 2": lambda: aggregation.FairGradWeighting(alpha=2.0),
    "cagrad": lambda: aggregation.CAGradWeighting(c=0.4),
}


@pytest.mark.parametrize("tasks", [2, 3, 6])
@pytest.mark.parametrize("name", TORCHJD)
def test_torchjd_finds_the_same_weights(name: str, tasks: int) -> None:
    for seed in range(5):
        matrix = random_rows(tasks, seed, spread=0.3)
        matrix /= np.linalg.norm(matrix)
        theirs = TORCHJD[name]()(torch.from_numpy(matrix @ matrix.T)).numpy()
        # Frank-Wolfe and trust-region steps end within 1e-3; the next tests have a sharper route.
        np.testing.assert_allclose(weigh(WEIGHTINGS[name], matrix), theirs, rtol=5e-3, atol=2e-3)


def test_torchjd_finds_the_same_conflict_free_gradient() -> None:
    for seed in range(5):
        matrix = random_rows(4, seed)
        theirs = aggregation.ConFIG()(torch.from_numpy(matrix)).numpy()
        np.testing.assert_allclose(weigh(WEIGHTINGS["con_fig"], matrix) @ matrix, theirs, atol=1e-9)


def test_with_two_tasks_surgery_needs_no_draws_and_is_torchjds() -> None:
    for seed in range(20):
        matrix = random_rows(2, seed)
        gramian = torch.from_numpy(matrix @ matrix.T)
        np.testing.assert_allclose(
            weigh(WEIGHTINGS["pcgrad"], matrix), aggregation.PCGradWeighting()(gramian).numpy(), rtol=1e-9
        )
        ours = build_weighting(config.GradVacBalancing(beta=0.3), 2)
        theirs = aggregation.GradVacWeighting(beta=0.3)
        for step in range(4):
            more = random_rows(2, 100 * seed + step)
            found = ours.weigh(gradients(more))
            ours.advance()
            np.testing.assert_allclose(found, theirs(torch.from_numpy(more @ more.T)).numpy(), rtol=1e-4)


def solved(objective: Any, constraints: list[Any], variable: Any) -> Array:
    """The solution of a convex problem by an interior-point solver."""
    cvxpy.Problem(objective, constraints).solve(
        cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9
    )
    value: Array = variable.value
    return value


def psd(matrix: Array) -> Any:
    return cvxpy.psd_wrap(matrix @ matrix.T)


@pytest.mark.parametrize("tasks", [2, 5, 10])
def test_a_conic_solver_finds_the_same_shortest_combination(tasks: int) -> None:
    for seed in range(5):
        matrix = random_rows(tasks, seed, spread=0.5)
        matrix /= np.linalg.norm(matrix)
        w = cvxpy.Variable(tasks)
        theirs = solved(cvxpy.Minimize(cvxpy.quad_form(w, psd(matrix))), [w >= 0, cvxpy.sum(w) == 1], w)
        np.testing.assert_allclose(weigh(WEIGHTINGS["mgda"], matrix), theirs, atol=1e-5)


@pytest.mark.parametrize("tasks", [2, 5, 10])
def test_a_conic_solver_finds_the_same_bargain(tasks: int) -> None:
    for seed in range(5):
        matrix = random_rows(tasks, seed, spread=0.5)
        matrix /= np.linalg.norm(matrix)
        a = cvxpy.Variable(tasks)
        objective = 0.5 * cvxpy.quad_form(a, psd(matrix)) - cvxpy.sum(cvxpy.log(a))
        theirs = solved(cvxpy.Minimize(objective), [], a)
        np.testing.assert_allclose(weigh(config.NashMTLBalancing(max_norm=None), matrix), theirs, rtol=1e-4)


@pytest.mark.parametrize("tasks", [2, 5, 10])
def test_a_conic_solver_finds_the_same_projections(tasks: int) -> None:
    for seed in range(5):
        matrix = random_rows(tasks, seed, spread=0.5)
        matrix /= np.linalg.norm(matrix)

        def project(u: Array, rows: Array = matrix) -> Array:
            v = cvxpy.Variable(len(rows))
            return solved(cvxpy.Minimize(cvxpy.quad_form(v, psd(rows))), [v >= u], v) @ rows

        upgrad = sum(project(row) for row in np.eye(tasks) / tasks)
        np.testing.assert_allclose(weigh(WEIGHTINGS["upgrad"], matrix) @ matrix, upgrad, atol=1e-5)
        dualproj = project(np.full(tasks, 1 / tasks))
        np.testing.assert_allclose(weigh(WEIGHTINGS["dualproj"], matrix) @ matrix, dualproj, atol=1e-5)


@pytest.mark.parametrize("tasks", [2, 5, 10])
def test_a_conic_solver_finds_the_same_cautious_direction(tasks: int) -> None:
    """CAGrad's primal problem, of which ours is the dual."""
    for seed in range(5):
        matrix = random_rows(tasks, seed, spread=0.3)
        matrix /= np.linalg.norm(matrix)
        mean = matrix.mean(0)
        d, least = cvxpy.Variable(len(mean)), cvxpy.Variable()
        near = cvxpy.norm(d - mean) <= 0.4 * np.linalg.norm(mean)
        theirs = solved(cvxpy.Maximize(least), [matrix @ d >= least, near], d)
        np.testing.assert_allclose(weigh(WEIGHTINGS["cagrad"], matrix) @ matrix, theirs, atol=1e-5)


# Laws


@pytest.mark.parametrize("name", WEIGHTINGS)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_weights_are_finite_and_scale_as_they_should(name: str, tasks: int, seed: int, spread: float) -> None:
    matrix = random_rows(tasks, seed, spread)
    weights = weigh(WEIGHTINGS[name], matrix)
    assert np.all(np.isfinite(weights))
    scaled = weigh(WEIGHTINGS[name], matrix * 1e-3)
    if name in ("nash_mtl", "fairgrad"):
        np.testing.assert_allclose(scaled * 1e-3, weights, rtol=1e-6)
    elif name != "fairgrad, 2":
        np.testing.assert_allclose(scaled, weights, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in WEIGHTINGS if n not in ("pcgrad", "gradvac")])
def test_permuting_tasks_permutes_weights(name: str) -> None:
    for seed in range(10):
        matrix = random_rows(5, seed)
        order = np.random.default_rng(seed).permutation(5)
        np.testing.assert_allclose(
            weigh(WEIGHTINGS[name], matrix[order]),
            weigh(WEIGHTINGS[name], matrix)[order],
            rtol=1e-6,
            atol=1e-9,
        )


DEGENERATE: dict[str, Array] = {
    "a gradient of zero": np.array([[0.0, 0, 0], [1, 2, 0], [0, 1, 1]]),
    "all zero": np.zeros((3, 4)),
    "opposite": np.array([[1.0, 2.0], [-1.0, -2.0]]),
    "opposite and a third": np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1, 0]]),
    "twins": np.array([[1.0, 2.0], [1.0, 2.0]]),
    "on one line": np.outer([1.0, 2, 3], [1.0, 1, 1]),
    "rank 2 of 4": np.array([[1.0, 0], [0, 1], [1, 1], [1, -1]]),
    "one": np.array([[3.0, 4.0]]),
    "forty": random_rows(40, 1),
    "forty of rank 5": np.random.default_rng(2).normal(size=(40, 5)),
    "lengths from 1e-8 to 1e8": random_rows(6, 3) * np.logspace(-8, 8, 6)[:, None],
}


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_degenerate_gradients_give_finite_weights_or_say_there_are_none(name: str, case: str) -> None:
    try:
        weights = weigh(WEIGHTINGS[name], DEGENERATE[case])
    except NoWeights:
        assert name in NEED_A_BARGAIN
        assert case.startswith("opposite") or "rank" in case
        return
    assert np.all(np.isfinite(weights))
    step = weights @ DEGENERATE[case]
    assert np.all(np.isfinite(step))
    longest = np.linalg.norm(DEGENERATE[case], axis=1).max()
    if name in ("upgrad", "dualproj") and np.linalg.norm(step) > 1e-9 * longest:  # never against a task
        lengths = np.linalg.norm(DEGENERATE[case], axis=1) * np.linalg.norm(step)
        assert np.all(DEGENERATE[case] @ step >= -1e-6 * lengths)


def test_published_and_hand_worked_weights() -> None:
    orthogonal = np.array([[3.0, 0.0], [0.0, 4.0]])
    np.testing.assert_allclose(weigh(WEIGHTINGS["mgda"], orthogonal), [16 / 25, 9 / 25])
    np.testing.assert_allclose(weigh(WEIGHTINGS["pcgrad"], orthogonal), [1, 1])
    np.testing.assert_allclose(weigh(WEIGHTINGS["imtl_g"], orthogonal), [4 / 7, 3 / 7])
    np.testing.assert_allclose(weigh(config.NashMTLBalancing(max_norm=None), orthogonal), [1 / 3, 1 / 4])
    np.testing.assert_allclose(weigh(WEIGHTINGS["fairgrad"], orthogonal), [1 / 3, 1 / 4])
    wanted = [9 ** (-2 / 3), 16 ** (-2 / 3)]
    np.testing.assert_allclose(weigh(WEIGHTINGS["fairgrad, 2"], orthogonal), wanted)
    np.testing.assert_allclose(weigh(WEIGHTINGS["aligned_mtl"], orthogonal), [1 / 2, 3 / 8])
    np.testing.assert_allclose(weigh(WEIGHTINGS["upgrad"], orthogonal), [1 / 2, 1 / 2])
    # ‖g₀‖ = 2.5; the task with the shorter gradient is the one worse off, so w = (1, 0) and d = g₀ + (1, 0).
    np.testing.assert_allclose(weigh(WEIGHTINGS["cagrad"], orthogonal) @ orthogonal, [2.5, 2.0])
    np.testing.assert_allclose(weigh(WEIGHTINGS["con_fig"], orthogonal) @ orthogonal, [3.5, 3.5])
    conflicting = np.array([[1.0, 0.0], [-1.0, 1.0]])
    np.testing.assert_allclose(weigh(WEIGHTINGS["pcgrad"], conflicting) @ conflicting, [0.5, 1.5])


def test_a_step_of_nash_is_no_longer_than_allowed() -> None:
    matrix = random_rows(4, 0)
    assert np.linalg.norm(weigh(config.NashMTLBalancing(), matrix) @ matrix) == pytest.approx(1)
    assert np.linalg.norm(weigh(config.NashMTLBalancing(max_norm=None), matrix) @ matrix) == pytest.approx(2)


def test_newton_needs_few_steps_for_any_bargain(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    monkeypatch.setattr(bargaining, "ITERATIONS", 15)
    worst = 0.0
    for _ in range(600):
        tasks = int(random.integers(2, 41))
        matrix = random.normal(size=(tasks, int(random.integers(2 * tasks, 100 + 2 * tasks))))
        gramian = matrix @ matrix.T * 10 ** random.uniform(-8, 8)
        weights = bargaining.equal_gains(gramian, 1.0)
        worst = max(worst, float(np.abs(weights * (gramian @ weights) - 1).max()))
    assert worst < 1e-11


def test_gradients_that_cancel_have_no_bargain() -> None:
    with pytest.raises(NoWeights):
        weigh(WEIGHTINGS["nash_mtl"], DEGENERATE["opposite"])


# Weights from independent samples


@given(st.lists(st.floats(-1e20, 1e20), min_size=1, max_size=8))
def test_projection_onto_the_simplex_is_the_nearest_point(values: list[float]) -> None:
    vector = np.array(values)
    found = onto_simplex(vector)
    assert found.sum() == pytest.approx(1)
    assert np.all(found >= 0)
    # Optimality: moving weight between any two tasks does not bring it nearer.
    pull = (vector - vector.max()) - found
    assert np.all(pull[found > 1e-9] >= pull.max() - 1e-6)


def test_torchjd_moves_modo_and_sdmgrad_the_same_way() -> None:
    tasks = ("a", "b", "c")
    modo, sdmgrad = MoDo(tasks, 0.1, 0.1), SDMGrad(tasks, 0.3, 20, 10.0, 0.5)
    theirs = aggregation.MoDoWeighting(gamma=0.1, rho=0.1), aggregation.SDMGradWeighting()
    for seed in range(5):
        first, second = random_rows(3, seed, 0.1), random_rows(3, 50 + seed, 0.1)
        cross = first @ second.T + np.eye(3) * 9
        modo.weights = modo.moved(cross, modo.weights)
        np.testing.assert_allclose(modo.weights, theirs[0](torch.from_numpy(cross)).numpy(), atol=1e-9)
        sdmgrad.weights = sdmgrad.moved(cross, sdmgrad.weights)
        used = (sdmgrad.weights + 0.3 / 3) / 1.3
        np.testing.assert_allclose(used, theirs[1](torch.from_numpy(cross)).numpy(), atol=1e-6)
