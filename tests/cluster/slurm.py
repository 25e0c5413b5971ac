"""A Slurm cluster of two nodes on this machine, with keys, ports and folders of its own."""

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.hosts import ADDRESSES
from tests.end_to_end.commands import environment
from tests.end_to_end.test_ray_address import free_ports
from tests.programs import require

NODES = ("one", "two")
CONFIGURATION = """
ClusterName=equipoise-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={nodes[0]} NodeHostname={host} NodeAddr={addresses[0]} Port={ports[1]} CPUs=8 Gres=gpu:1
NodeName={nodes[1]} NodeHostname={host} NodeAddr={addresses[1]} Port={ports[2]} CPUs=8 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """Runs Slurm's commands as on a login node."""

    configuration: Path

    def run(self, *command: str, folder: Path | None = None, extra: dict[str, str] | None = None) -> str:
        """What a command printed; it must succeed."""
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment({"SLURM_CONF": str(self.configuration), **(extra or {})}),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What is known of a job, by Slurm's names: JobState, ExitCode."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Start munged, slurmctld and two slurmd below `folder`, end them afterwards."""
    require("munged", "slurmctld", "slurmd", "sbatch", "pgrep")
    if os.geteuid() != 0:
        pytest.skip("slurmd runs jobs as their users, which only root may")
    for name in ("munge", "state"):
        (folder / name).mkdir()
    key, configuration = folder / "munge" / "key-file", folder / "slurm.conf"
    key.write_bytes(secrets.token_bytes(64))
    key.chmod(0o400)
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname(),
            folder=folder,
            ports=free_ports(3),
            nodes=NODES,
            addresses=ADDRESSES,
        )
    )
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    cluster = Slurm(configuration)
    places = [f"--{name}={folder}/munge/{name}" for name in ("socket", "key-file", "pid-file", "seed-file")]
    with contextlib.ExitStack() as daemons:
        daemons.enter_context(_daemon(folder, "munged", "--force", "--foreground", *places))
        _wait_for((folder / "munge" / "socket").exists, folder)
        daemons.enter_context(_daemon(folder, "slurmctld", "-D", "-f", str(configuration)))
        for node in NODES:
            daemons.enter_context(_daemon(folder, "slurmd", "-D", "-N", node, "-f", str(configuration)))
        _wait_for(lambda: _idle(cluster), folder)
        try:
            yield cluster
        finally:
            cluster.run("scancel", "--user=root")
            _wait_for(lambda: not cluster.run("squeue", "--noheader"), folder)


@contextlib.contextmanager
def _daemon(folder: Path, program: str, *arguments: str) -> Iterator[None]:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    with (folder / "daemons.log").open("ab") as log:
        process = subprocess.Popen(
            [program, *arguments], env=environment({"PATH": path}), stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _idle(cluster: Slurm) -> bool:
    """Whether both nodes wait for work; sinfo fails until slurmctld listens."""
    with contextlib.suppress(AssertionError):
        return cluster.run("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle", "idle"]
    return False


def _wait_for(condition: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, (folder / "daemons.log").read_text()
        time.sleep(0.2)
