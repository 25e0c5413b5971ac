"""Machines that are not a developer's own: no home, little shared memory, another search at the same time."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.commands import EXPERIMENT, SCRIPT, environment, last_line, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NO_HOME = "/proc/no-home"
"""Nobody can make it, not even root."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    return tmp_path


def test_without_a_home_that_can_be_written_the_cache_needs_another_place(folder: Path) -> None:
    done = run(folder, "search", "experiment.yaml", extra={"HOME": NO_HOME})
    assert done.returncode == 3
    assert "EQUIPOISE_CACHE" in done.stderr
    elsewhere = {"HOME": NO_HOME, "EQUIPOISE_CACHE": str(folder / "cache")}
    assert (
        last_line(run(folder, "search", "experiment.yaml", "--json", "-n", "1", extra=elsewhere))["trials"]
        == 1
    )


LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:  # as `ip link set lo up`
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_container_without_network_with_little_shared_memory_and_a_home_to_be_read_only(
    workers: int, folder: Path
) -> None:
    """Docker's /dev/shm has 64 MB, others have less."""
    home = folder / "home"
    home.mkdir()
    mounts = f"mount -t tmpfs -o size=16m tmpfs /dev/shm && mount -t tmpfs -o ro tmpfs {home}"
    shell = ("sh", "-c", f'{mounts} && exec "$@"', "sh")
    unshared = ("unshare", "--mount", "--net", *shell, sys.executable, "-c", LOOPBACK)
    if shutil.which("unshare") is None or subprocess.run([*unshared, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    options = ["--json", "-n", "1", "-s", f"compute.workers={workers}"]
    variables = {"HOME": str(home), "EQUIPOISE_CACHE": str(folder / "cache")}
    done = run(
        folder,
        "search",
        "experiment.yaml",
        *options,
        command=(*unshared, SCRIPT),
        extra=variables,
        seconds=200,
    )
    assert last_line(done)["trials"] == 1


def test_two_searches_at_once_do_not_disturb_each_other(folder: Path) -> None:
    command = [SCRIPT, "search", "experiment.yaml", "--json", "-n", "2", "-s", "compute.slots=1"]
    searches = [
        subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ended = [search.communicate(timeout=200) for search in searches]
    lines = [
        last_line(subprocess.CompletedProcess(command, search.returncode, *printed))
        for search, printed in zip(searches, ended, strict=True)
    ]
    assert {line["search_id"] for line in lines} == {"pairs-001", "pairs-002"}
    assert lines[0]["hypervolume"] == lines[1]["hypervolume"]
    assert lines[0]["experiment_id"] == lines[1]["experiment_id"]
