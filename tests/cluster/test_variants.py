"""Every documented cluster file is valid, installs what there is, starts Ray behind a token, and holds no secret."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import ray.autoscaler
from ray.autoscaler._private.command_runner import _with_interactive
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


def test_every_ray_is_started_behind_the_token(cluster: dict[str, Any], tmp_path: Path) -> None:
    """Run the commands as Ray's launcher does, with a `ray` that says what it was started with."""
    ours = tmp_path / ".equipoise"
    (ours / "bin").mkdir(parents=True)
    (tmp_path / ".bashrc").write_text('[ -n "$PS1" ] || return\n')  # as Ubuntu's begins
    shutil.copy(CLUSTERS / "node.bashrc", ours)
    example = (CLUSTERS / "cluster.env.example").read_text()
    (ours / "cluster.env").write_text(example.replace("RAY_AUTH_TOKEN=", "RAY_AUTH_TOKEN=5ecret"))
    stub = ours / "bin" / "ray"
    stub.write_text('#!/bin/sh\n[ "$1" = stop ] || echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN" >>"$HOME/started"\n')
    stub.chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}
    subprocess.run(["bash", "-c", cluster["setup_commands"][0]], env=environment, check=True)
    commands = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    for command in commands:
        as_launched = " ".join(_with_interactive(command))
        subprocess.run(as_launched, shell=True, env=environment, check=True, start_new_session=True)
    assert (tmp_path / "started").read_text().splitlines() == ["token 5ecret"] * 2


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
