"""A trial goes on after its slot died, as often as the cause is worth it."""

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
)

from orchestrator.launch.node_checks import UnfitNode
from orchestrator.tuning.retries import BUDGETS, Cause, RetriedTrial, cause_of

ERRORS: dict[Cause, Exception] = {
    "crash": ActorDiedError(),
    "out of memory": RayActorError("ab", "Worker exit type: NODE_OUT_OF_MEMORY", False),
    "unfit machine": RayTaskError(
        "step", "node_checks.UnfitNode: node 10.0.0.2 has torch 2.13.0", UnfitNode("")
    ),
    "loss of the machine": RayActorError("ab", "The actor died because its node has died.", False),
}


@pytest.mark.parametrize("cause", ERRORS)
def test_causes_are_told_apart(cause: Cause) -> None:
    assert cause_of(ERRORS[cause]) == cause


def test_what_says_so_by_its_type_is_believed() -> None:
    assert cause_of(OutOfMemoryError("")) == "out of memory"
    assert cause_of(NodeDiedError("")) == "loss of the machine"
    assert cause_of(ActorUnavailableError("Socket closed", None)) == "loss of the machine"
    assert cause_of(RayActorError("ab", "", False, True)) == "loss of the machine"


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> RetriedTrial:
    monkeypatch.setattr(RetriedTrial, "local_path", None)  # where Tune would keep the errors
    return RetriedTrial("some", trial_id="t000", stub=True)


@pytest.mark.parametrize("cause", ERRORS)
def test_every_cause_has_a_budget_of_its_own(cause: Cause, trial: RetriedTrial) -> None:
    for other, error in ERRORS.items():
        if other != cause:
            trial.handle_error(error)
    for _ in range(BUDGETS[cause]):
        trial.handle_error(ERRORS[cause])
        assert trial.should_recover()
    assert trial.last_cause == cause
    trial.handle_error(ERRORS[cause])
    assert not trial.should_recover()


def test_why_it_died_is_a_sentence(trial: RetriedTrial) -> None:
    told = {}
    for cause, error in ERRORS.items():
        trial.handle_error(error)
        told[cause] = trial.why_dead
    assert told["crash"] == told["loss of the machine"] == "the trial's process died"
    assert told["unfit machine"] == "node_checks.UnfitNode: node 10.0.0.2 has torch 2.13.0"


def test_only_a_want_of_memory_makes_a_trial_do_with_less(trial: RetriedTrial) -> None:
    trial.config = {"trial": "t000", "config": {"seed": 1, "training": {"epochs": 3}}}
    trial.handle_error(ERRORS["crash"])
    trial.handle_error(ERRORS["loss of the machine"])
    assert trial.config["config"]["training"] == {"epochs": 3}
    trial.handle_error(ERRORS["out of memory"])
    assert trial.config == {
        "trial": "t000",
        "config": {"seed": 1, "training": {"epochs": 3, "recompute": True}},
    }
