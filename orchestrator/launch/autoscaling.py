"""What an autoscaler may still add to a cluster, so that a search can ask for it.

Ray itself does not tell. `ray up` leaves its configuration on the head; elsewhere (KubeRay) `EQUIPOISE_MAY_COME` says
it, as JSON: `[{"count": 8, "cpus": 8, "gpus": 1}]`.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.machines.resources import NodeResources

BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
VARIABLE = "EQUIPOISE_MAY_COME"


def nodes_that_may_come(live: Sequence[NodeResources]) -> list[NodeResources]:
    """Nodes that an autoscaler would start if they were asked for, besides the `live` ones.

    Raises:
        ClusterError: `EQUIPOISE_MAY_COME` is not what it should be.
    """
    if text := os.environ.get(VARIABLE):
        return _without(live, _from_variable(text))
    bootstrap = BOOTSTRAP.expanduser()
    if not bootstrap.exists():
        return []
    from ruamel.yaml import YAML

    return _from_configuration(YAML(typ="safe").load(bootstrap), live)


def _from_variable(text: str) -> list[NodeResources]:
    try:
        return [
            NodeResources(cpus=float(kind["cpus"]), gpus=float(kind.get("gpus", 0)))
            for kind in json.loads(text)
            for _ in range(int(kind["count"]))
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(
            f"{VARIABLE}={text} is not understood: {error}",
            'Write it as JSON: [{"count": 8, "cpus": 8, "gpus": 1}].',
        ) from error


def _from_configuration(
    configuration: Mapping[str, Any], live: Sequence[NodeResources]
) -> list[NodeResources]:
    """From what `ray up` wrote, which has the resources of cloud machines filled in."""
    most = int(configuration.get("max_workers", 0))
    possible = [
        NodeResources(cpus=float(kind["resources"]["CPU"]), gpus=float(kind["resources"].get("GPU", 0)))
        for name, kind in (configuration.get("available_node_types") or {}).items()
        if name != configuration.get("head_node_type") and kind.get("resources", {}).get("CPU")
        for _ in range(int(kind.get("max_workers", most)))
    ]
    return _without(live, possible)[: max(0, most - (len(live) - 1))]


def _without(live: Sequence[NodeResources], possible: Sequence[NodeResources]) -> list[NodeResources]:
    """Those of `possible` that are not there yet: a live node is one of its kind."""
    there = Counter((node.cpus, node.gpus) for node in live)
    coming = []
    for node in possible:
        kind = (node.cpus, node.gpus)
        if there[kind]:
            there[kind] -= 1
        else:
            coming.append(node)
    return coming
