"""Slots are counted as Ray would place them, and what cannot fit is told with the arithmetic."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ClusterError
from orchestrator.machines.resources import (
    NodeResources,
    SlotPlan,
    plan_slots,
    plan_training,
    slots_at_present,
)
from orchestrator.spec import ComputeConfig

GB = 10**9


def compute(**values: Any) -> ComputeConfig:
    return ComputeConfig.model_validate(values)


def node(cpus: float, gpus: float = 0, memory: int = 0) -> NodeResources:
    return NodeResources(cpus=cpus, gpus=gpus, memory=memory)


@pytest.mark.parametrize(
    ("section", "nodes", "slots", "workers", "gpus"),
    [
        ({}, [node(2)], 2, 1, 0),
        ({}, [node(8, gpus=2)], 2, 1, 1),
        ({"per_worker": {"cpu": 2}}, [node(8)], 4, 1, 0),
        ({"per_worker": {"cpu": 3}}, [node(8)], 2, 1, 0),
        ({"per_worker": {"gpu": 0}}, [node(8, gpus=2)], 8, 1, 0),
        ({"per_worker": {"gpu": 0.5}}, [node(8, gpus=2)], 4, 1, 0.5),
        ({"per_worker": {"gpu": 0.4}}, [node(8, gpus=2)], 4, 1, 0.4),  # 2 on each GPU, not 5 on both
        ({"workers": 2}, [node(2)], 1, 2, 0),
        ({"workers": 2}, [node(1), node(1)], 1, 2, 0),  # a group may spread over nodes
        ({"workers": 2, "per_worker": {"cpu": 2}}, [node(3), node(3)], 1, 2, 0),
        ({"slots": 1}, [node(8)], 1, 1, 0),
        ({}, [node(8, memory=2 * GB)], 2, 1, 0),
        ({"slots": 8}, [node(8, memory=2 * GB)], 8, 1, 0),  # asked for: believed
        ({}, [node(8, memory=1)], 1, 1, 0),
        ({"slots": [2, 4]}, [node(8)], 4, 1, 0),
        ({"slots": [2, 4]}, [node(3)], 3, 1, 0),
        ({"slots": [2, 4]}, [node(2)], 2, 1, 0),
        ({"slots": [3, 3]}, [node(8)], 3, 1, 0),
        ({"slots": [2, 8]}, [node(8, memory=3 * GB)], 3, 1, 0),  # above the least, it is automatic
        ({"slots": [4, 8]}, [node(8, memory=GB)], 4, 1, 0),
    ],
)
def test_slots_that_fit(
    section: dict[str, Any], nodes: list[NodeResources], slots: int, workers: int, gpus: float
) -> None:
    plan = plan_slots(compute(**section), nodes)
    assert (plan.slots, plan.workers, plan.gpus) == (slots, workers, gpus)


@pytest.mark.parametrize(
    ("section", "nodes", "message", "hint"),
    [
        (
            {"slots": 2, "workers": 3, "per_worker": {"cpu": 4}},
            [node(2)],
            "2 slots × 3 workers × 4 CPU = 24 CPU, this machine has 2",
            "Set compute.workers or compute.per_worker lower, or add machines.",
        ),
        (
            {"slots": [3, 5]},
            [node(2)],
            "3 slots × 1 worker × 1 CPU = 3 CPU, this machine has 2",
            "Set compute.slots to [2, 5] or auto.",
        ),
        (
            {"per_worker": {"cpu": 4}},
            [node(2)],
            "1 worker × 4 CPU = 4 CPU, this machine has 2",
            "compute.per_worker",
        ),
        (
            {"slots": 5},
            [node(2)],
            "5 slots × 1 worker × 1 CPU = 5 CPU, this machine has 2",
            "compute.slots to 2",
        ),
        (
            {"per_worker": {"gpu": 1}},
            [node(2)],
            "1 worker × 1 GPU = 1 GPU, this machine has 0",
            "per_worker lower",
        ),
        (
            {"workers": 2, "per_worker": {"cpu": 2}},
            [node(3), node(1)],
            "2 workers of 2 CPU each are 2 workers, but the 2 nodes have room for 1",
            "compute.workers",
        ),
        ({"per_worker": {"gpu": 1.5}}, [node(8, gpus=4)], "compute.per_worker.gpu is 1.5", "whole number"),
    ],
)
def test_what_can_never_fit_is_told_with_the_arithmetic(
    section: dict[str, Any], nodes: list[NodeResources], message: str, hint: str
) -> None:
    with pytest.raises(ClusterError) as error:
        plan_slots(compute(**section), nodes)
    assert error.value.message == message
    assert hint in error.value.hint
    assert error.value.exit_code == 5


@pytest.mark.parametrize(
    ("section", "nodes", "workers", "cpus", "gpus"),
    [
        ({}, [node(8)], 1, 8, 0),
        ({}, [node(8, gpus=4)], 4, 1, 1),
        ({"per_worker": {"gpu": 0}}, [node(8, gpus=4)], 1, 8, 0),
        ({"workers": 2, "slots": 5}, [node(2)], 2, 1, 0),
    ],
)
def test_a_training_without_a_search_takes_what_there_is(
    section: dict[str, Any], nodes: list[NodeResources], workers: int, cpus: int, gpus: float
) -> None:
    plan = plan_training(compute(**section), nodes)
    assert plan == SlotPlan(slots=1, workers=workers, cpus=cpus, gpus=gpus)


def test_no_more_slots_than_trials() -> None:
    assert plan_slots(compute(), [node(8)], trials=3).slots == 3
    assert plan_slots(compute(slots=8), [node(3)], trials=3).slots == 3


@pytest.mark.parametrize(
    ("section", "left", "slots"),
    [
        ({}, [node(1)], 1),
        ({}, [node(1), node(2)], 3),
        ({}, [], 1),  # a trial that waits for the first machine
        ({"slots": 2}, [node(1)], 1),
        ({"slots": 2}, [node(8)], 2),
        ({"slots": [2, 3]}, [node(8)], 3),
        ({"slots": 3}, [node(8, memory=GB)], 3),
        ({}, [node(8, memory=2 * GB)], 2),
        ({"workers": 2}, [node(1), node(2)], 1),
        ({}, [node(64)], 4),  # trials
    ],
)
def test_slots_of_a_search_whose_nodes_come_and_go(
    section: dict[str, Any], left: list[NodeResources], slots: int
) -> None:
    plan = plan_slots(compute(**section), [node(8)])
    assert slots_at_present(plan, compute(**section), left, trials=4) == slots


def test_trials_that_began_with_a_gpu_do_not_grow_onto_nodes_without_when_all_gpus_are_gone() -> None:
    plan = plan_slots(compute(), [node(8, gpus=2), node(8)])
    assert (plan.slots, plan.gpus) == (2, 1)
    assert slots_at_present(plan, compute(), [node(8)], trials=40) == 1


@pytest.mark.parametrize(
    ("section", "nodes", "limit"),
    [
        ({}, [node(2)], "2 cores"),
        ({}, [node(8, gpus=2)], "2 GPUs"),
        ({}, [node(1, gpus=2)], "1 core"),
        ({}, [node(8, memory=2 * GB)], "2.0 GB of free memory"),
        ({"slots": 2}, [node(8)], ""),
    ],
)
def test_an_automatic_number_of_slots_says_what_it_follows_from(
    section: dict[str, Any], nodes: list[NodeResources], limit: str
) -> None:
    assert plan_slots(compute(**section), nodes).limited_by == limit
    assert plan_slots(compute(**section), nodes, trials=1).limited_by == ""


def test_one_worker_requests_what_it_uses_and_several_are_reserved_by_train() -> None:
    assert SlotPlan(slots=1, workers=1, cpus=2, gpus=0).trial_resources == {"cpu": 2}
    assert SlotPlan(slots=1, workers=1, cpus=2, gpus=0.5).trial_resources == {"cpu": 2, "gpu": 0.5}
    assert SlotPlan(slots=1, workers=2, cpus=2, gpus=1).trial_resources == {"memory": 1}
    slot = SlotPlan(slots=3, workers=2, cpus=2, gpus=1).slot
    assert slot == {"workers": 2, "cpus": 2, "gpus": 1, "in_process": None}


@given(
    nodes=st.lists(st.integers(1, 64), min_size=1, max_size=5),
    workers=st.integers(1, 8),
    cpu=st.integers(1, 8),
)
def test_the_slots_of_a_plan_can_all_be_placed(nodes: list[int], workers: int, cpu: int) -> None:
    section = compute(workers=workers, per_worker={"cpu": cpu})
    try:
        plan = plan_slots(section, [node(cpus) for cpus in nodes])
    except ClusterError:
        assert sum(cpus // cpu for cpus in nodes) < workers
        return
    free = list(nodes)
    for _ in range(plan.slots * plan.workers):
        place = next(i for i, cpus in enumerate(free) if cpus >= cpu)
        free[place] -= cpu
