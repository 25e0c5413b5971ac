"""A cluster that starts with no worker: Ray's own autoscaler starts some for a search, and ends them afterwards."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.cluster.heads import Head, ray_head
from tests.cluster.test_nodes import EXPERIMENT
from tests.end_to_end.commands import run
from tests.end_to_end.test_ray_address import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""The id by which Ray's provider of pretended machines knows the head."""
COMMANDS = [
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
]
"""What Ray wants to be told even where nothing is run."""


@contextlib.contextmanager
def autoscaled(home: Path, version: int) -> Iterator[Head]:
    """A head without cores, as `ray up` leaves it: its configuration is in the home folder.

    `version`: Ray has two autoscalers.
    """
    (gcs,) = free_ports(1)
    # Under its own name, `fake_multinode`, Ray looks for a file of defaults that its wheel has not.
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": f"127.0.0.1:{gcs}",
        "launch_multiple": True,
        "use_node_id_as_ip": True,
        "head_node_id": HEAD,
    }
    configuration = {
        "cluster_name": "pretended",
        "max_workers": 2,
        "idle_timeout_minutes": 0.05,
        "upscaling_speed": 10.0,
        "provider": provider,
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        "head_node_type": "ray.head.default",
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in (*COMMANDS, "cluster_synced_files")},
        "file_mounts_sync_continuously": False,
    }
    file = home / "ray_bootstrap_config.yaml"
    YAML(typ="safe").dump(configuration, file)
    variables = {
        "RAY_enable_autoscaler_v2": str(version - 1),
        "RAY_FAKE_CLUSTER": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    with ray_head(home, gcs, "--num-cpus=0", f"--autoscaling-config={file}", variables=variables) as head:
        yield head


@pytest.mark.parametrize(("workers", "version"), [(1, 2), (2, 1)])
def test_a_cluster_without_workers_grows_for_a_search_and_shrinks_after_it(
    workers: int, version: int, tmp_path: Path
) -> None:
    """Ray takes back only what nobody holds any more."""
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    options = ["-n", "2", "-s", "training.epochs=3", "-s", f"compute.workers={workers}"]
    with autoscaled(tmp_path, version) as head:
        assert head.machines() == 1
        there = {**head.login, "RAY_ADDRESS": f"127.0.0.1:{head.gcs}", "HOME": str(tmp_path)}
        done = run(tmp_path, "search", "experiment.yaml", *options, extra=there, seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 completed" in done.stdout
        assert head.machines() > 1
        deadline = time.monotonic() + 60
        while head.machines() > 1:
            assert time.monotonic() < deadline, "what the search had is not given back"
            time.sleep(0.5)
