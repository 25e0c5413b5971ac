"""A private Ray: nothing of it outlives its block, and what a killed driver leaves goes with the next start.

It asks for a token and listens on the loopback interface alone, also in a notebook that imported Ray long before.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.commands import environment

SEARCH = """
import os, signal, subprocess, sys, time
from orchestrator.machines.connection import RayAddress, connected, set_environment
from orchestrator.machines.resources import NodeResources
set_environment(RayAddress())
with connected(RayAddress(), NodeResources(cpus=1)):
    import ray

    @ray.remote
    class Stubborn:
        def start(self):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            return [os.getpid(), subprocess.Popen(["sleep", "600"]).pid]

        def hang(self):
            time.sleep(600)

    stubborn = Stubborn.remote()
    print(*ray.get(stubborn.start.remote()), flush=True)
    hanging = stubborn.hang.remote()
    if sys.argv[1] == "die":
        time.sleep(600)
    began = time.monotonic()
print(time.monotonic() - began, flush=True)
"""

NOTEBOOK = """
import http.client, json, os
import psutil, ray
from ray._raylet import get_authentication_mode
from orchestrator.machines.connection import RayAddress, connected
from orchestrator.machines.resources import NodeResources

def is_dashboard(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/version")
        answer = connection.getresponse()
        return answer.status in (401, 403) or b"ray_version" in answer.read()
    except (OSError, http.client.HTTPException):
        return False

def listening(*, without=()):
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [socket for each in family if each.name() not in without for socket in each.net_connections()]
    found = [socket.laddr for socket in sockets if socket.status == "LISTEN"]
    return {address.port: address.ip.removeprefix("::ffff:") for address in found}

with connected(RayAddress(), NodeResources(cpus=1)):
    agents = ("ray::RuntimeEnvAgent",)  # answers strangers as a dashboard does
    dashboards = [port for port in listening(without=agents) if is_dashboard(port)]
    print(json.dumps({
        "mode": get_authentication_mode(),
        "token": len(os.environ["RAY_AUTH_TOKEN"]),
        "dashboards": dashboards,
        "ran": ray.get(ray.remote(lambda: "ran")._remote(num_cpus=0)),
        "listening": sorted(set(listening().values())),
    }))
"""
DISABLED, TOKEN = 0, 1
"""Ray's numbers for its modes."""


@pytest.fixture
def temporary() -> Path:
    """A short path, since Unix sockets below it may have 107 characters."""
    return Path(tempfile.mkdtemp(prefix="eqt-"))


def started(how: str, temporary: Path) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SEARCH, how],
        env={**environment, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left_by_us(temporary: Path) -> list[str]:
    return [path.name for path in temporary.iterdir() if path.name.startswith("eqp-")]


@pytest.mark.chaos
def test_nothing_of_a_private_ray_outlives_its_block_or_a_killed_driver(temporary: Path) -> None:
    killed = started("die", temporary)
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(left_by_us(temporary)) == 2, "the folder and its lock"
    printed, said = started("leave", temporary).communicate(timeout=120)
    pids, seconds = printed.splitlines()
    assert [pid for pid in map(int, pids.split()) if runs(pid)] == []
    assert said == ""
    assert left_by_us(temporary) == [], "the killed driver's folder went with the next start"
    # Half a second on a free machine; what hangs would be waited for by ray.shutdown, or stay.
    assert float(seconds) < 5
    temporary.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "mode"),
    [({}, TOKEN), ({"RAY_AUTH_MODE": ""}, TOKEN), ({"RAY_AUTH_MODE": "disabled"}, DISABLED)],
    ids=["unset", "empty", "disabled by the user"],
)
def test_after_an_import_of_ray_a_token_is_asked_for_unless_the_user_said_otherwise(
    said: dict[str, str], mode: int, temporary: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NOTEBOOK],
        env={**environment({"HOME": str(temporary), "TMPDIR": str(temporary)}), **said},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {
        "mode": mode,
        "token": 64,
        "listening": ["127.0.0.1"],
        "dashboards": [],
        "ran": "ran",
    }
    assert list(temporary.iterdir()) == [], "no token is written to the home folder"
    temporary.rmdir()
