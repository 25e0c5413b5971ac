"""What the doctor says of a cluster with two nodes: real ones, asked as a run would."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private.services import node_ip_address_from_perspective
from ray.cluster_utils import Cluster

from orchestrator.doctor.nodes import LARGEST_SKEW, clocks, look_at_nodes
from orchestrator.machines.connection import RayAddress
from tests.end_to_end.commands import environment
from tests.end_to_end.test_ray_address import free_ports

ROOT = Path(__file__).parents[3]
HERE = "/proc/self/cwd"
"""A folder that is another one for each process: what a disk of one node is to the others."""


def test_clocks_that_differ_are_told_by_node() -> None:
    (found,) = clocks({"10.0.0.2": LARGEST_SKEW / 2, "10.0.0.3": -2 * LARGEST_SKEW})
    assert (found.code, found.status) == ("node-clock", "warning")
    assert "10.0.0.3 is -60 s off" in found.message


def test_nodes_that_could_not_be_counted_are_a_problem(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    nodes = look_at_nodes(RayAddress(f"127.0.0.1:{port}"), {"tracking.storage": tmp_path})
    (found,) = nodes.findings
    assert nodes.count is None
    assert (found.code, found.status) == ("nodes", "problem")
    assert "nodes could not be counted: cannot reach the cluster" in found.message
    assert "RAY_ADDRESS" in found.cure


@pytest.fixture(scope="module", params=[False, True], ids=["without dashboard", "with dashboard"])
def cluster(request: pytest.FixtureRequest) -> Iterator[tuple[Cluster, str]]:
    """Two nodes, and what is to be said of their dashboard, which has none of Ray's usual ports."""
    (port,) = free_ports(1)
    shown = {"include_dashboard": request.param, "dashboard_port": port}
    said = "the dashboard at {} asks for a token" if request.param else "no dashboard answers at {}"
    scratch = tempfile.mkdtemp(prefix="ray-")  # short, and its own: elsewhere others would find this cluster
    # Of itself it would take the address of the Ray that this process may be connected to, which is on loopback.
    here = {"node_ip_address": node_ip_address_from_perspective()}
    head = {"num_cpus": 1, "temp_dir": scratch, **shown, **here}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1, **here)
        yield cluster, said.format(f"127.0.0.1:{port}")
    finally:
        cluster.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def told(cluster: Cluster, folder: Path, experiment: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The doctor's exit code, and its findings by code."""
    (folder / "experiment.yaml").write_text(experiment)
    token = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "doctor", "experiment.yaml", "--json"],
        cwd=folder,
        env=environment({**token, "RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, {found["code"]: found for found in json.loads(done.stdout)["findings"]}


EXPERIMENT = """
name: pairs
data: {source: "builtin:digits-pair", cache: CACHE}
tasks: {left: {type: multiclass, label: left}, right: {type: multiclass, label: right}}
tracking: {storage: STORAGE, mlflow: MLFLOW}
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_only_one_node_sees_is_refused_with_a_code_of_its_own(
    cluster: tuple[Cluster, str], tmp_path: Path
) -> None:
    ray, of_dashboard = cluster
    local = EXPERIMENT.replace("STORAGE", f"{HERE}/runs").replace("CACHE", f"{HERE}/cache")
    code, found = told(ray, tmp_path, local.replace("MLFLOW", "sqlite:///mlflow.db"))
    assert code == 5
    assert found["nodes"]["message"] == "the cluster has 2 nodes"
    for refused, cure in {
        "storage-node-local": "EQUIPOISE_STORAGE",
        "cache-node-local": "EQUIPOISE_CACHE",
        "mlflow-sqlite": "mlflow server",
    }.items():
        assert found[refused]["status"] == "problem"
        assert cure in found[refused]["cure"]
    assert found["ray-dashboard"]["message"] == of_dashboard
    assert {path.name for path in tmp_path.iterdir()} == {"experiment.yaml"}, "looking leaves nothing"

    shared = EXPERIMENT.replace("STORAGE", str(tmp_path / "runs")).replace("CACHE", str(tmp_path / "cache"))
    _, found = told(ray, tmp_path, shared.replace("MLFLOW", f"file://{tmp_path}"))
    problems = {name for name, finding in found.items() if finding["status"] == "problem"}
    assert problems == {"tracking-file"}
