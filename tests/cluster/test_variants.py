"""Every documented cluster file is valid, installs what there is, starts Ray behind a token, and holds no secret."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import ray.autoscaler
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "docs" / "clusters"
LAUNCHED = [ROOT / "cluster.yaml", CLUSTERS / "gcp.yaml", CLUSTERS / "local" / "cluster.yaml"]
SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())


def load(file: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(file))


@pytest.fixture(params=LAUNCHED, ids=lambda file: str(file.relative_to(ROOT)))
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    (loaded,) = load(request.param)
    return loaded


def test_a_cluster_file_is_valid_for_rays_own_schema(cluster: dict[str, Any]) -> None:
    jsonschema.validate(cluster, SCHEMA)


def test_what_is_mounted_exists_and_is_what_an_installation_needs(cluster: dict[str, Any]) -> None:
    local = [ROOT / path for path in cluster["file_mounts"].values() if path != "cluster.env"]
    assert all(path.exists() for path in local)
    names = {path.name for path in local}
    assert names >= {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "orchestrator",
        "trainables",
        "search_spaces",
    }


def test_the_dashboard_listens_to_the_head_only(cluster: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])


def test_node_types_name_a_head_that_conducts_only(cluster: dict[str, Any]) -> None:
    if cluster["provider"]["type"] != "local":
        assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}
        workers = [
            kind
            for name, kind in cluster["available_node_types"].items()
            if name != cluster["head_node_type"]
        ]
        assert all(kind["min_workers"] == 0 and kind["resources"]["CPU"] for kind in workers)


def test_commands_are_valid_shell(cluster: dict[str, Any]) -> None:
    for key in (
        "initialization_commands",
        "setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
    ):
        for command in cluster[key]:
            subprocess.run(["bash", "-n", "-c", command], check=True)


def test_no_file_holds_a_secret() -> None:
    example = CLUSTERS / "cluster.env.example"
    values = dict(line.split("=", 1) for line in example.read_text().splitlines() if line and line[0] != "#")
    assert values["RAY_AUTH_MODE"] == "token"
    assert all(not value for name, value in values.items() if re.search("TOKEN|PASSWORD", name))
    for file in [*LAUNCHED, *CLUSTERS.rglob("*.yaml")]:
        assert not re.search(r"(?i)(password|auth_token)\s*[:=]\s*['\"]?\w", file.read_text()), file


@pytest.mark.parametrize("script", ["slurm.sbatch", "local/ray", "node.bashrc"])
def test_scripts_are_valid_shell(script: str) -> None:
    subprocess.run(["bash", "-n", CLUSTERS / script], check=True)


def test_a_slurm_job_says_what_it_needs() -> None:
    options = re.findall(r"^#SBATCH --([a-z-]+)=", (CLUSTERS / "slurm.sbatch").read_text(), re.MULTILINE)
    assert set(options) >= {"nodes", "ntasks-per-node", "cpus-per-task", "time", "signal"}


def clusters_on_kubernetes() -> list[dict[str, Any]]:
    _, cluster = load(CLUSTERS / "kubernetes" / "raycluster.yaml")
    (job,) = load(CLUSTERS / "kubernetes" / "rayjob.yaml")
    assert (cluster["kind"], job["kind"]) == ("RayCluster", "RayJob")
    assert {cluster["apiVersion"], job["apiVersion"]} == {"ray.io/v1"}
    assert job["spec"]["entrypoint"].endswith("equipoise search /experiment/experiment.yaml -n 40")
    return [cluster["spec"], job["spec"]["rayClusterSpec"]]


@pytest.mark.parametrize("spec", clusters_on_kubernetes(), ids=["RayCluster", "RayJob"])
def test_a_cluster_on_kubernetes_has_a_token_shared_storage_and_shared_memory(spec: dict[str, Any]) -> None:
    assert spec["authOptions"] == {"mode": "token"}
    assert ray.__version__ == spec["rayVersion"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert isinstance(group["rayStartParams"], dict)
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
        assert mounts["shm"] == "/dev/shm"
        assert mounts["storage"] == "/mnt/equipoise"
        assert container["resources"]["limits"] == container["resources"]["requests"]
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
