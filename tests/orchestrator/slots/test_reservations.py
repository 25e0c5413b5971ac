"""Which slots have no room, as Ray's own table says."""

import time
from collections.abc import Callable

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.slots.reservations import KEPT_FULL, reservations, slots_without_room

pytestmark = pytest.mark.usefixtures("ray_cluster")


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_slot_waits_from_when_it_asks_for_room_until_it_has_it() -> None:
    assert until(lambda: reservations() == [])
    assert slots_without_room() == 0
    groups = [placement_group([{"CPU": ray.cluster_resources()["CPU"]}])]
    try:
        ray.get(groups[0].ready(), timeout=20)
        assert slots_without_room() == 0
        groups.append(placement_group([{"CPU": 1}, {"CPU": 1}]))
        groups.append(placement_group([{"CPU": 1}], name=f"{KEPT_FULL}node"))
        assert until(lambda: len(reservations()) == 3)
        assert slots_without_room() == 1, "what keeps trials off a node is no slot"
        remove_placement_group(groups[0])
        assert until(lambda: slots_without_room() == 0)
    finally:
        for group in groups:
            remove_placement_group(group)
    assert until(lambda: reservations() == [])
