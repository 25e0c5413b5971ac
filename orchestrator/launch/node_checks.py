"""What must hold on every node of a cluster before a search trains there: one version of everything, one set of files.

Found out by a task on each node, in one or two seconds, and told with the cure. A cluster of one node passes at once.
"""

import hashlib
import os
import socket
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.errors import ClusterError, TrackingError
from orchestrator.tracking.uri import database_path

PACKAGES = ("torch", "torchvision", "ray", "numpy")
"""Whose versions must be the same everywhere, besides Python's and our own code."""
SECONDS_TO_ANSWER = 60.0


@dataclass(frozen=True)
class Sight:
    """What one node has and sees."""

    host: str
    versions: dict[str, str]
    missing: tuple[str, ...]
    """Files that the driver wrote or mapped, and that are not there on this node."""


def look(paths: Sequence[str]) -> Sight:
    """This node's versions, and which of `paths` it does not see."""
    return Sight(socket.gethostname(), _versions(), tuple(path for path in paths if not os.path.exists(path)))  # noqa: PTH110


def require_alike(here: Sight, others: dict[str, Sight], *, storage: Path, data: Path) -> None:
    """Compare the nodes with the driver's.

    Args:
        here: the driver's own.
        others: by the node's address.
        storage: the folder of checkpoints (`tracking.storage`).
        data: the folder of the prepared data.

    Raises:
        ClusterError: they differ in what they run or see.
    """
    for address, sight in others.items():
        different = [
            f"{name} {sight.versions.get(name, 'missing')} (here {ours})"
            for name, ours in here.versions.items()
            if sight.versions.get(name) != ours
        ]
        if different:
            raise ClusterError(
                f"node {address} ({sight.host}) has {', '.join(different)}",
                "Install the same everywhere: setup_commands in cluster.yaml, then `ray up cluster.yaml` again.",
            )
    for folder, key, cure in (
        (storage, "tracking.storage", "tracking.storage, or EQUIPOISE_STORAGE on the nodes,"),
        (data, "data.cache", "data.cache, or EQUIPOISE_CACHE on the nodes,"),
    ):
        blind = [
            address
            for address, sight in others.items()
            if any(Path(path).is_relative_to(folder) for path in sight.missing)
        ]
        if blind:
            raise ClusterError(
                f"{key}: {folder} is not seen on {len(blind)} of the {len(others) + 1} nodes ({', '.join(blind)})",
                f"Set {cure} to a folder that every node mounts under the same path (NFS, EFS, Filestore, Lustre).",
            )


def check_nodes(storage: Path, data: Path, tracking_uri: str) -> None:
    """Look at every live node of the connected cluster.

    Args:
        storage: the folder of checkpoints.
        data: the folder of the prepared data.
        tracking_uri: of MLflow.

    Raises:
        ClusterError: a node does not answer, differs in what it runs, or does not see the folders.
        TrackingError: results would go to a database in a file.
    """
    import ray

    own = ray.get_runtime_context().get_node_id()
    nodes = {node["NodeID"]: str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}
    others = {node: address for node, address in nodes.items() if node != own}
    if not others:
        return
    if database_path(tracking_uri) is not None:
        raise TrackingError(
            f"tracking.mlflow: {tracking_uri} is a file on one of the cluster's {len(nodes)} nodes, and goes with it",
            "Start a server that all reach (`mlflow server`), and name it: tracking.mlflow or MLFLOW_TRACKING_URI.",
        )
    with _marked(storage) as mark:
        paths = [str(mark), str(data)]
        sights = _sights(others, paths)
        require_alike(look([]), sights, storage=storage, data=data)


def _sights(others: dict[str, str], paths: list[str]) -> dict[str, Sight]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {
        address: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            paths
        )
        for node, address in others.items()
    }
    sights: dict[str, Sight] = {}
    for address, answer in asked.items():
        try:
            sights[address] = ray.get(answer, timeout=SECONDS_TO_ANSWER)
        except Exception as error:  # Ray raises anything
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise ClusterError(
                f"node {address} cannot run Equipoise: {said[-1]}",
                "Install it there as on the head (setup_commands in cluster.yaml), or take the node out.",
            ) from error
    return sights


@contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """A file in `folder`, for others to look for."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".seen-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


@cache
def _versions() -> dict[str, str]:
    versions = {"Python": ".".join(map(str, sys.version_info[:3])), "Equipoise's code": _digest_of_code()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    return versions


def _digest_of_code() -> str:
    """Of our sources: a checkout has the same version number before and after a change."""
    import orchestrator
    import search_spaces
    import trainables

    digest = hashlib.sha256()
    for package in (orchestrator, search_spaces, trainables):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()[:8]
