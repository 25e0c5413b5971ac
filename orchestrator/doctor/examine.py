"""All that `equipoise doctor` looks at."""

import os
import tempfile
from pathlib import Path

from orchestrator.doctor import machine, services
from orchestrator.doctor.finding import Finding
from orchestrator.doctor.nodes import CODES, look_at_nodes
from orchestrator.doctor.ports import ports
from orchestrator.doctor.runs import runs
from orchestrator.doctor.upload import submits_jobs, working_directory
from orchestrator.machines.connection import RayAddress
from orchestrator.spec import ExperimentSpec
from orchestrator.tracking.uri import resolve_tracking_uri
from trainables.data.cache import cache_root


def examine(spec: ExperimentSpec | None, *, fix: bool = False, storage: Path | None = None) -> list[Finding]:
    """Look at this machine, and at the Ray, the MLflow and the runs of an experiment (without one: the defaults).

    `fix`: close runs that were killed, and tell MLflow the rest of those that it was not told. `storage`: the folder of
    runs, if not the experiment's.
    """
    storage = storage or Path(spec.tracking.storage if spec is not None else "equipoise_runs")
    cache = cache_root(spec.data.cache if spec is not None else None, Path.cwd())
    places = {"tracking.storage": storage, "data.cache": cache, "TMPDIR": Path(tempfile.gettempdir())}
    cluster, several_nodes = _cluster({key: places[key] for key in CODES})
    tracking = spec.tracking if spec is not None else "auto"
    store = list(services.mlflow(tracking, several_nodes=several_nodes))
    uri = None if any(finding.status == "problem" for finding in store) else resolve_tracking_uri(tracking)
    return [
        *machine.packages(),
        machine.memory(),
        machine.shared_memory(),
        *machine.disks(places),
        machine.sockets(),
        ports(),
        machine.gpus(),
        *cluster,
        *store,
        *runs(storage, uri, fix=fix),
    ]


def _cluster(places: dict[str, Path]) -> tuple[list[Finding], bool]:
    """What there is to say of the Ray that would be used, and whether it has more than one node.

    `places`: the folders that every node must see, by key.
    """
    where = RayAddress.from_environment()
    found = list(services.ray())
    several_nodes = False
    if not where.is_private and all(finding.status != "problem" for finding in found):
        nodes = look_at_nodes(where, places)
        found += nodes.findings
        several_nodes = nodes.count is not None and nodes.count > 1
        place = services.dashboard_by_default(where) if nodes.count is None else nodes.dashboard
        if place is not None:
            found.append(services.dashboard(place))
    submitted = submits_jobs(os.environ)
    if submitted or not where.is_private:
        found.append(working_directory(Path.cwd(), submitted=submitted))
    return found, several_nodes
