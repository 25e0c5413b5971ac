"""What this job has reserved on the cluster or waits to reserve: Ray's placement groups, from the cluster's own table.

The table says who made a group, whether he lives and whether there is room for it. Its public form
(`ray.util.placement_group_table`) lacks the maker, hence the protocol buffer.
"""

import ray
from ray._private.state import state as cluster_state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData

KEPT_FULL = "equipoise-left-out-"
"""How the names of groups begin that keep trials off a node."""

_WAITING = (PlacementGroupTableData.PENDING, PlacementGroupTableData.RESCHEDULING)


def reservations() -> list[PlacementGroupTableData]:
    """This job's placement groups, those included for which there is no room yet."""
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    rows = cluster_state._connect_and_get_accessor().get_placement_group_table()
    groups = [PlacementGroupTableData.FromString(row) for row in rows]
    return [
        group
        for group in groups
        if group.creator_job_id == job and group.state != PlacementGroupTableData.REMOVED
    ]


def slots_without_room() -> int:
    """How many slots wait until there is room for them: a slot makes one group that asks for cores."""
    return sum(group.state in _WAITING and not group.name.startswith(KEPT_FULL) for group in reservations())
