"""Who else is on the machine stays out of a search's private Ray."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.commands import TO_LOOPBACK, environment, run

OWNER = """
import os, sys
from orchestrator.machines.connection import RayAddress, connected
from orchestrator.machines.resources import NodeResources

with connected(RayAddress(), NodeResources(cpus=1, gpus=0, memory=2**30)):
    import ray
    print(ray.get_runtime_context().gcs_address, flush=True)
    print(os.environ["RAY_AUTH_TOKEN"], flush=True)
    sys.stdin.readline()
"""
STRANGER = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
print(ray.get(ray.remote(lambda: "ran")._remote(num_cpus=0)))
"""


@pytest.mark.slow
def test_a_stranger_without_the_token_runs_nothing(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        address, token = (owner.stdout.readline().strip() for _ in range(2))
        impatient = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5", "RAY_raylet_start_wait_time_s": "5"}
        for let_in, mode in (
            (True, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}),
            (False, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}),
            (False, {"RAY_AUTH_MODE": "disabled"}),
        ):
            extra = mode | impatient | TO_LOOPBACK
            done = run(tmp_path, "-c", STRANGER, address, command=(sys.executable,), extra=extra)
            assert (done.returncode == 0, "ran" in done.stdout) == (let_in, let_in), done.stderr
    finally:
        owner.communicate("\n", timeout=60)
