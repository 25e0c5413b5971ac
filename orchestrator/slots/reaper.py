"""Removes placement groups whose creator is dead.

Ray ties a placement group to its job, not to the actor that made it. A slot that is killed never aborts its
Ray Train run: its controller and workers die with it, since they belong to it, but their reservation would
stay for as long as the driver lives. (Ray Train's own cleaner asks the dashboard, which need not be there,
and outlives the driver.) The cluster's own table says who made a placement group and whether it still
lives, so nobody has to register anything.
"""

import logging
import threading
from types import TracebackType
from typing import Self

import ray
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group

from orchestrator.slots.reservations import reservations

_log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.5


def remove_groups_of(controller_id: str) -> int:
    """Remove the placement groups that the actor with this hexadecimal id made. Returns their number."""
    creator = bytes.fromhex(controller_id)
    return _remove([group for group in reservations() if group.creator_actor_id == creator])


def remove_orphans() -> int:
    """Remove this job's placement groups whose creator is a dead actor. Returns their number."""
    return _remove(
        [
            group
            for group in reservations()
            if group.creator_actor_dead
            and not group.is_detached
            and any(byte != 0xFF for byte in group.creator_actor_id)  # all ones: made by the driver itself
        ]
    )


class SlotReaper:
    """A thread of the driver that calls `remove_orphans` until the `with` block ends."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slot-reaper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            if ray.is_initialized():
                try:
                    remove_orphans()
                except Exception:
                    _log.exception("orphaned placement groups could not be removed; trying again")


def _remove(groups: list[PlacementGroupTableData]) -> int:
    for group in groups:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
    return len(groups)
