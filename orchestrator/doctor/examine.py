"""All that `equipoise doctor` looks at."""

import tempfile
from pathlib import Path

from orchestrator.doctor import machine, services
from orchestrator.doctor.finding import Finding
from orchestrator.doctor.runs import runs
from orchestrator.machines.connection import RayAddress, nodes_of_cluster
from orchestrator.spec import ExperimentSpec
from orchestrator.tracking.uri import resolve_tracking_uri
from trainables.data.cache import cache_root

SECONDS_TO_ANSWER = 5


def examine(spec: ExperimentSpec | None, *, fix: bool = False) -> list[Finding]:
    """Look at this machine, and at the Ray, the MLflow and the runs of an experiment (without one: the defaults).

    `fix`: close runs that were killed, and tell MLflow the rest of those that it was not told.
    """
    storage = Path(spec.tracking.storage if spec is not None else "equipoise_runs")
    cache = cache_root(spec.data.cache if spec is not None else None, Path.cwd())
    places = {"tracking.storage": storage, "data.cache": cache, "TMPDIR": Path(tempfile.gettempdir())}
    cluster = list(services.ray())
    reached = all(finding.status != "problem" for finding in cluster)
    tracking = spec.tracking if spec is not None else "auto"
    store = list(services.mlflow(tracking, several_nodes=reached and _several_nodes()))
    uri = None if any(finding.status == "problem" for finding in store) else resolve_tracking_uri(tracking)
    return [
        *machine.packages(),
        machine.memory(),
        machine.shared_memory(),
        *machine.disks(places),
        machine.sockets(),
        machine.gpus(),
        *cluster,
        *store,
        *runs(storage, uri, fix=fix),
    ]


def _several_nodes() -> bool:
    """Whether the cluster that would be used has more than one node; asking a private Ray is no use."""
    where = RayAddress.from_environment()
    if where.is_private:
        return False
    if where.is_connected:
        return len(nodes_of_cluster()) > 1
    from ray.util.state import list_nodes

    try:
        return len(list_nodes(filters=[("state", "=", "ALIVE")], timeout=SECONDS_TO_ANSWER)) > 1
    except Exception:  # no dashboard to ask: said by another finding
        return False
