"""What must hold on a node of a cluster before anything trains there: one version of everything, one set of files.

Found out by a task on the node, in one or two seconds, and told with the cure. Nodes that join a search are looked at
by `newcomers`, and by each slot where it opens: a trial may be there before anybody else.
"""

import hashlib
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterError, TrackingError
from orchestrator.tracking.uri import database_path
from trainables.durable import make_folders

PACKAGES = ("torch", "torchvision", "ray", "numpy")
"""Whose versions must be the same everywhere, besides Python's and our own code."""
VARIABLES = {"tracking.storage": "EQUIPOISE_STORAGE", "data.cache": "EQUIPOISE_CACHE"}
"""What names the folder of a key on the nodes of a cluster."""
SECONDS_TO_ANSWER = 60.0
NODE_ID = "ray.io/node-id"
"""The label by which Ray knows each node."""


@dataclass(frozen=True)
class Sight:
    """What one node has and sees."""

    host: str
    versions: dict[str, str]
    missing: tuple[str, ...]
    """Files that the driver wrote or mapped, and that are not there on this node."""
    clock: float
    """The time there when it looked, in seconds since 1970."""


class UnfitNode(ClusterError):  # noqa: N818 - named for what is the case
    """A node differs from the driver's in what it runs or sees."""


@dataclass(frozen=True)
class Expected:
    """What every node must have and see."""

    versions: dict[str, str]
    """The driver's own."""
    storage: Path
    """The folder of checkpoints (`tracking.storage`)."""
    data: Path
    """The folder of the prepared data."""
    mark: Path
    """A file in `storage` that is there for as long as the nodes are in use."""

    @property
    def paths(self) -> tuple[str, ...]:
        """What must be seen everywhere."""
        return str(self.mark), str(self.data)

    def require_of(self, others: Mapping[str, Sight]) -> None:
        """Compare nodes with the driver's; `others` are by address.

        Raises:
            UnfitNode: they differ in what they run or see.
        """
        require_alike(self.versions, others)
        require_seen("tracking.storage", self.storage, self.mark, others)
        require_seen("data.cache", self.data, self.data, others)

    def require_here(self) -> None:
        """Look at the node that this process runs on, as `require_of`."""
        import ray.util

        self.require_of({ray.util.get_node_ip_address(): look(self.paths)})


def require_alike(versions: Mapping[str, str], others: Mapping[str, Sight]) -> None:
    """Compare nodes, by address, with the driver's `versions`.

    Raises:
        UnfitNode: one has others.
    """
    for address, sight in others.items():
        different = [
            f"{name} {sight.versions.get(name, 'missing')} (here {ours})"
            for name, ours in versions.items()
            if sight.versions.get(name) != ours
        ]
        if different:
            raise UnfitNode(
                f"node {address} ({sight.host}) has {', '.join(different)}",
                "Install the same everywhere: setup_commands in cluster.yaml, then `ray up cluster.yaml` again.",
            )


def require_seen(key: str, folder: Path, path: Path, others: Mapping[str, Sight]) -> None:
    """See that nodes, by address, see `path`, which stands for the `folder` that `key` names.

    Raises:
        UnfitNode: some do not.
    """
    blind = [address for address, sight in others.items() if str(path) in sight.missing]
    if blind:
        raise UnfitNode(
            f"{key}: {folder} is not seen on node{'s' * (len(blind) > 1)} {', '.join(blind)}",
            f"Set {key}, or {VARIABLES[key]} on the nodes, to a folder that every node mounts under the same path "
            "(NFS, EFS, Filestore, Lustre).",
        )


def look(paths: Sequence[str]) -> Sight:
    """This node's versions and clock, and which of `paths` it does not see."""
    missing = tuple(path for path in paths if not Path(path).exists())
    return Sight(socket.gethostname(), own_versions(), missing, time.time())


@contextmanager
def checked_nodes(storage: Path, data: Path, tracking_uri: str) -> Iterator[Expected]:
    """Look at every live node of the connected cluster; what those that join in this context must have.

    Args:
        storage: the folder of checkpoints.
        data: the folder of the prepared data.
        tracking_uri: of MLflow.

    Raises:
        ClusterError: a node does not answer, differs in what it runs, or does not see the folders.
        TrackingError: results would go to a database in a file.
    """
    others = live_nodes(besides_this=True)
    if others and database_path(tracking_uri) is not None:
        raise TrackingError(
            f"tracking.mlflow: {tracking_uri} is a file on one of the cluster's {len(others) + 1} nodes, "
            "and goes with it",
            "Start a server that all reach (`mlflow server`), and name it: tracking.mlflow or MLFLOW_TRACKING_URI.",
        )
    with marked(storage) as mark:
        expected = Expected(own_versions(), storage, data, mark)
        asked = {address: ask(node, expected.paths) for node, address in others.items()}
        expected.require_of({address: answer_of(address, answer) for address, answer in asked.items()})
        yield expected


def live_nodes(*, besides_this: bool = False) -> dict[str, str]:
    """Addresses of the connected cluster's nodes, by id."""
    import ray

    own = ray.get_runtime_context().get_node_id() if besides_this else None
    return {
        node["NodeID"]: str(node["NodeManagerAddress"])
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != own
    }


def ask(node: str, paths: Sequence[str]) -> Any:
    """Have the node with this id look at itself, and for `paths`: a Ray reference to its `Sight`."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(look).remote(paths)


def answer_of(address: str, answer: Any, timeout: float = SECONDS_TO_ANSWER) -> Sight:
    """What the node at `address` said.

    Raises:
        UnfitNode: it could not, or did not within `timeout` seconds.
    """
    import ray

    try:
        sight: Sight = ray.get(answer, timeout=timeout)
    except Exception as error:  # Ray raises anything
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UnfitNode(
            f"node {address} cannot run Equipoise: {said[-1]}",
            "Install it there as on the head (setup_commands in cluster.yaml), or take the node out.",
        ) from error
    return sight


@contextmanager
def marked(folder: Path) -> Iterator[Path]:
    """A file in `folder`, for others to look for."""
    make_folders(folder)
    mark = folder / f".seen-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


@cache
def own_versions() -> dict[str, str]:
    """Of what must be the same everywhere."""
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
