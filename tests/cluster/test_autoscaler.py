"""A cluster that starts with no worker: Ray's own autoscaler starts some for a search, and ends them afterwards."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from tests.cluster.test_nodes import EXPERIMENT, ROOT
from tests.end_to_end.commands import environment, run
from tests.end_to_end.test_ray_address import RAY, free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""The id by which Ray's provider of pretended machines knows the head."""
TOKEN = "a" * 64
COMMANDS = [
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
]
"""What Ray wants to be told even where nothing is run."""


@dataclass(frozen=True)
class Autoscaled:
    """A head without cores, and how to get there from it."""

    process: "subprocess.Popen[bytes]"
    variables: dict[str, str]

    def machines(self) -> int:
        """How many machines there are at present."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return sum(_is_raylet(member) for member in family)


def _is_raylet(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "raylet"
    return False


@contextlib.contextmanager
def autoscaled(tmp_path: Path, version: int) -> Iterator[Autoscaled]:
    """As `ray up` leaves it: its configuration is in the home folder. `version`: Ray has two autoscalers."""
    gcs, client, dashboard, agent = free_ports(4)
    home = tmp_path / "home"
    home.mkdir()
    worker = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}
    configuration = {
        "cluster_name": "pretended",
        "max_workers": 2,
        "idle_timeout_minutes": 0.05,
        "upscaling_speed": 10.0,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": f"127.0.0.1:{gcs}",
            "launch_multiple": True,
            "head_node_id": HEAD,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": worker,
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        **{name: {} for name in ("file_mounts", "docker")},
        **{name: [] for name in COMMANDS},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
    }
    file = home / "ray_bootstrap_config.yaml"
    YAML(typ="safe").dump(configuration, file)
    scratch = tempfile.mkdtemp(prefix="ray-")  # short: Unix sockets below it may have 107 characters
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    ours = {
        "RAY_enable_autoscaler_v2": str(version - 1),
        "RAY_FAKE_CLUSTER": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    }
    usual = {"RAY_USAGE_STATS_ENABLED": "0", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "PYTHONPATH": str(ROOT)}
    command = [RAY, "start", "--head", "--block", "--num-cpus=0", f"--autoscaling-config={file}"]
    ports = [f"--port={gcs}", f"--ray-client-server-port={client}", f"--dashboard-port={dashboard}"]
    ports += [f"--dashboard-agent-listen-port={agent}", "--node-ip-address=127.0.0.1"]
    with (tmp_path / "ray.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *ports, f"--temp-dir={scratch}"],
            env=environment({**token, **ours, **usual}),
            stdout=log,
            stderr=log,
        )
    there = {**token, "RAY_ADDRESS": f"127.0.0.1:{gcs}", "HOME": str(home), "PYTHONPATH": str(ROOT)}
    started = Autoscaled(process, there)
    try:
        deadline = time.monotonic() + 90
        while not started.machines():
            assert process.poll() is None, (tmp_path / "ray.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield started
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait(20)
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.mark.parametrize(("workers", "version"), [(1, 2), (2, 1)])
def test_a_cluster_without_workers_grows_for_a_search_and_shrinks_after_it(
    workers: int, version: int, tmp_path: Path
) -> None:
    """Ray takes back only what nobody holds any more."""
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    options = ["-n", "2", "-s", "training.epochs=3", "-s", f"compute.workers={workers}"]
    with autoscaled(tmp_path, version) as cluster:
        assert cluster.machines() == 1
        done = run(tmp_path, "search", "experiment.yaml", *options, extra=cluster.variables, seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert cluster.machines() > 1
        deadline = time.monotonic() + 60
        while cluster.machines() > 1:
            assert time.monotonic() < deadline, "what the search had is not given back"
            time.sleep(0.5)
    assert "2 completed" in done.stdout
