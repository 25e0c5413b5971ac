"""The documented cluster of one's own machines, brought up on the two hosts of this one."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.autoscaler._private.local.config import get_lock_path, get_state_path
from ruamel.yaml import YAML

from tests.cluster.hosts import ADDRESSES, Hosts
from tests.end_to_end.commands import environment
from tests.end_to_end.test_ray_address import free_ports

ROOT = Path(__file__).parents[2]
VARIANT = ROOT / "docs" / "clusters" / "local" / "cluster.yaml"
RAY = str(Path(sys.executable).with_name("ray"))
TOKEN = "t0ken" * 8


@dataclass(frozen=True)
class OnPremises:
    """Brings the cluster up and down with the commands that users type."""

    hosts: Hosts
    name: str
    file: Path
    dashboard: str
    gcs: str

    def ray(self, *arguments: str, timeout: float = 110) -> subprocess.CompletedProcess[str]:
        """Run `ray` as on a user's own machine, where the checkout is."""
        path = f"{self.hosts.bin}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [RAY, *arguments],
            cwd=ROOT,
            env=environment({"PATH": path, "HOME": str(self.file.parent)}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def forget(self) -> None:
        """Remove what Ray's launcher knows of this cluster."""
        for path in (get_state_path(self.name), get_lock_path(self.name)):
            Path(path).unlink(missing_ok=True)


def describe(hosts: Hosts, folder: Path, scratch: Path, variables: dict[str, str]) -> OnPremises:
    """Fill in the documented file: addresses, key, free ports. What it installs with is here already."""
    gcs, dashboard, client, agent, other_agent = map(str, free_ports(5))
    yaml = YAML(typ="safe")
    cluster = yaml.load(VARIANT)
    name = folder.parent.name  # Ray keeps what it knows of a cluster below /tmp by its name
    cluster["cluster_name"] = name
    cluster["provider"] |= {"head_ip": ADDRESSES[0], "worker_ips": [ADDRESSES[1]]}
    cluster["auth"] = {"ssh_user": hosts.user, "ssh_private_key": str(hosts.key)}
    cluster["file_mounts"]["~/.equipoise/cluster.env"] = str(folder / "cluster.env")
    ports = {"6399": gcs, "8299": dashboard, "10099": client, "/tmp/equipoise-ray": str(scratch)}
    for key, address, own in (
        ("head_start_ray_commands", ADDRESSES[0], agent),
        ("worker_start_ray_commands", ADDRESSES[1], other_agent),
    ):
        stop, start = cluster[key]
        for documented, free in (ports | {"52399": own}).items():
            start = start.replace(documented, free)
        cluster[key] = [stop, f"{start} --num-cpus=1 --node-ip-address={address}"]
    _write_variables(
        folder,
        {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # which is pip's way to say that there is none
            **variables,
        },
    )
    file = folder / "cluster.yaml"
    yaml.dump(cluster, file)
    return OnPremises(hosts, name, file, f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}")


def _write_variables(folder: Path, variables: dict[str, Any]) -> None:
    lines = [f"{name}={value}\n" for name, value in variables.items()]
    (folder / "cluster.env").write_text("".join(lines))
