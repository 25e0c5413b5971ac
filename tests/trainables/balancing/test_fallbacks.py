"""Where a method has no weights: equal ones, counted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch

from tests.contracts.trainings import moved, multiply, trainer_of, weights
from tests.trainables.synthetic import prepared, trial
from trainables.balancing import bargaining
from trainables.balancing.balancer import Balancer, LossBalancer
from trainables.balancing.gramian import Array, Gradients, GramianBalancer, Weighting
from trainables.balancing.step import Step
from trainables.training.trainer import Trainer
from trainables.training.world import World

TASKS = ("shape", "bright", "marks")


def assert_equal_weights(report: dict[str, float], steps: int = 3) -> None:
    assert report["fallbacks"] == steps
    assert weights(report) == pytest.approx(dict.fromkeys((f"{task}.weight" for task in TASKS), 1 / 3))


class InfiniteWeighting(Weighting):
    """The weight of one task is infinite."""

    def weigh(self, gradients: Gradients) -> Array:
        return np.array([np.inf, 1.0, 1.0])


class InfiniteLossWeights(LossBalancer):
    """The weight of one task is infinite."""

    def task_weights(self, step: Step) -> Sequence[float]:
        return [float("inf"), 1.0, 1.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: GramianBalancer(TASKS, InfiniteWeighting(), at_features=False),
        lambda: GramianBalancer(TASKS, InfiniteWeighting(), at_features=True),
        lambda: InfiniteLossWeights(TASKS),
    ],
    ids=["gradients of parameters", "gradients of features", "losses"],
)
def test_an_infinite_weight_is_not_used(make: Callable[[], Balancer]) -> None:
    training = {"epochs": 1, "batch_size": 90, "precision": "fp64", "optimizer": {"name": "sgd", "lr": 0.05}}
    broken = Trainer(trial(training=training), prepared(), World.single(), make_balancer=lambda _: make())
    assert_equal_weights(broken.run_epoch().training, steps=1)
    thirds = {"method": "static", "weights": dict.fromkeys(TASKS, 1 / 3)}
    expected = Trainer(trial(training=training, balancing=thirds), prepared(), World.single())
    expected.run_epoch()
    for name in (n for n, _ in expected.model.named_parameters() if n.startswith("backbone")):
        torch.testing.assert_close(
            broken.model.get_parameter(name), expected.model.get_parameter(name), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("method", ["uncertainty", "imtl_l"])
def test_a_learned_scale_that_overflows_is_not_used(method: str) -> None:
    trainer = trainer_of({"method": method})
    state = trainer.balancer.state_dict()
    state["values"] = torch.full_like(state["values"], -1000.0 if method == "uncertainty" else 1000.0)
    trainer.balancer.load_state_dict(state)
    assert_equal_weights(trainer.run_epoch().training)


def shortened(function: Callable[..., Any]) -> Callable[..., Any]:
    """A solver of SciPy that has one iteration."""
    return lambda *arguments, **named: function(*arguments, **{**named, "maxiter": 1})


def exhausted(*_: Any, **__: Any) -> Any:
    """What SciPy does where a solver had all its iterations; projections of few tasks are done in one."""
    raise RuntimeError("Maximum number of iterations reached.")


SOLVERS: dict[str, tuple[Any, str, Any]] = {
    "mgda": (scipy.optimize, "nnls", shortened(scipy.optimize.nnls)),
    "upgrad": (scipy.optimize, "nnls", exhausted),
    "dualproj": (scipy.optimize, "nnls", exhausted),
    "cagrad": (scipy.optimize, "brentq", shortened(scipy.optimize.brentq)),
    "nash_mtl": (bargaining, "ITERATIONS", 0),
    "fairgrad": (bargaining, "ITERATIONS", 0),
}
"""By method: where its solver is, and one that runs out of iterations."""


@pytest.mark.parametrize("at", ["parameters", "features"])
@pytest.mark.parametrize("method", SOLVERS)
def test_a_solver_that_runs_out_of_iterations_is_counted(
    monkeypatch: pytest.MonkeyPatch, method: str, at: str
) -> None:
    trainer = trainer_of({"method": method, "gradients": at}, labelled=1.0)
    multiply(trainer._losses["bright"], -1)  # gradients that conflict, so that there is something to solve
    monkeypatch.setattr(*SOLVERS[method])
    assert_equal_weights(trainer.run_epoch().training)
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())
    assert moved(trainer).norm() > 0


def fails(*_: Any, **__: Any) -> Any:
    raise np.linalg.LinAlgError("Eigenvalues did not converge")


@pytest.mark.parametrize("method", ["mgda", "cagrad", "upgrad", "dualproj", "con_fig"])
def test_eigenvalues_that_do_not_converge_are_counted(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """LAPACK may give up on any matrix."""
    monkeypatch.setattr(np.linalg, "pinv" if method == "con_fig" else "eigh", fails)
    assert_equal_weights(trainer_of({"method": method}).run_epoch().training)
