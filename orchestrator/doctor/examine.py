"""All that `equipoise doctor` looks at."""

import tempfile
from pathlib import Path

from orchestrator.cluster import RayAddress
from orchestrator.doctor import machine, services
from orchestrator.doctor.finding import Finding
from orchestrator.spec import ExperimentSpec
from trainables.data.cache import cache_root


def examine(spec: ExperimentSpec | None) -> list[Finding]:
    """Look at this machine, and at the Ray and MLflow that an experiment (without one: the defaults) would use."""
    storage = Path(spec.tracking.storage if spec is not None else "equipoise_runs")
    cache = cache_root(spec.data.cache if spec is not None else None, Path.cwd())
    places = {"tracking.storage": storage, "data.cache": cache, "TMPDIR": Path(tempfile.gettempdir())}
    cluster = list(services.ray())
    reached = all(finding.status != "problem" for finding in cluster)
    return [
        *machine.packages(),
        machine.memory(),
        machine.shared_memory(),
        *machine.disks(places),
        machine.sockets(),
        machine.gpus(),
        *cluster,
        *services.mlflow(
            spec.tracking if spec is not None else "auto", several_nodes=reached and _several_nodes()
        ),
    ]


def _several_nodes() -> bool:
    """Whether the cluster that would be used has more than one node; asking a private Ray is no use."""
    if RayAddress.from_environment().is_private:
        return False
    from ray.util.state import list_nodes

    try:
        return len(list_nodes(filters=[("state", "=", "ALIVE")])) > 1
    except Exception:  # no dashboard to ask: said by another finding
        return False
