"""A search on a Ray cluster that somebody else has started."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.commands import (
    EXPERIMENT,
    a_mark,
    descendants,
    environment,
    kill_family,
    last_line,
    run,
)

RAY = str(Path(sys.executable).with_name("ray"))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def address() -> Iterator[str]:
    """Of a Ray head with two cores, all of whose processes are gone afterwards."""
    scratch = tempfile.mkdtemp(prefix="ray-")  # short: Unix sockets below it may have 107 characters
    port, client = free_ports(2)
    command = [RAY, "start", "--head", "--block", f"--port={port}", f"--ray-client-server-port={client}"]
    process = subprocess.Popen(
        [*command, "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={scratch}"],
        env=environment({"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(process, port)
        yield f"127.0.0.1:{port}"
    finally:
        kill_family(process)
        shutil.rmtree(scratch, ignore_errors=True)


def wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Until the head answers and its node has registered."""
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "ray start has ended"
        assert time.monotonic() < deadline
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.2)
    names = [child.name() for child in psutil.Process(process.pid).children(recursive=True)]
    while "raylet" not in names:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        names = [child.name() for child in psutil.Process(process.pid).children(recursive=True)]


@pytest.mark.slow
def test_a_search_runs_on_the_cluster_at_ray_address(address: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    there = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"}
    mark = a_mark()
    ending = last_line(run(tmp_path, "search", "experiment.yaml", "--json", "-n", "2", extra=there | mark))
    assert ending["trials"] == 2
    assert ending["pareto"]
    assert not {"gcs_server", "raylet"} & set(descendants(mark))
    again = last_line(run(tmp_path, "search", "experiment.yaml", "--json", "-n", "1", extra=there))
    assert again["search_id"] == "pairs-002", "the cluster has outlived the first search"
