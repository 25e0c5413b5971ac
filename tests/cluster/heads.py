"""A Ray head of one's own, with dashboard and token, beside whatever else runs on this machine."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.end_to_end.commands import environment, kill_family
from tests.end_to_end.test_ray_address import RAY, free_ports

ROOT = Path(__file__).parents[2]
TOKEN = "a" * 64


@dataclass(frozen=True)
class Head:
    """A head that runs."""

    process: "subprocess.Popen[bytes]"
    gcs: int
    """The port of `RAY_ADDRESS`."""
    dashboard: str
    """Where jobs go."""
    logs: Path
    """Below which it has its session."""

    @property
    def login(self) -> dict[str, str]:
        """What a client's environment must say."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}

    def machines(self) -> int:
        """How many nodes have been started from it, itself included."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return sum(_is_raylet(member) for member in family)


def _is_raylet(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "raylet"
    return False


@contextlib.contextmanager
def ray_head(folder: Path, port: int, *options: str, variables: Mapping[str, str]) -> Iterator[Head]:
    """Start one at a `port`, end it and all that it has started afterwards. Its output is in `folder`."""
    client, dashboard, agent = free_ports(3)
    scratch = tempfile.mkdtemp(prefix="ray-")  # short: Unix sockets below it may have 107 characters
    ports = [f"--port={port}", f"--ray-client-server-port={client}", f"--dashboard-port={dashboard}"]
    ports += [f"--dashboard-agent-listen-port={agent}", "--node-ip-address=127.0.0.1"]
    usual = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    usual["PATH"] = f"{Path(RAY).parent}{os.pathsep}{os.environ['PATH']}"  # where jobs find `equipoise`
    with (folder / "ray.log").open("wb") as log:
        process = subprocess.Popen(
            [RAY, "start", "--head", "--block", *ports, f"--temp-dir={scratch}", *options],
            env=environment({**usual, "PYTHONPATH": str(ROOT), **variables}),
            stdout=log,
            stderr=log,
        )
    head = Head(process, port, f"http://127.0.0.1:{dashboard}", Path(scratch))
    try:
        _wait_for(head, folder / "ray.log")
        yield head
    finally:
        kill_family(process)
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_for(head: Head, log: Path) -> None:
    deadline = time.monotonic() + 90
    while "Ray runtime started" not in log.read_text():
        assert head.process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
