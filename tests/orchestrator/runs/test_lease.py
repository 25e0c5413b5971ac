"""A run's folder is one process's at a time, and a dead one's no longer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.runs.lease import Conducted, hold_lease, is_held

HOLDER = """
import pathlib, sys, time
from orchestrator.runs.lease import hold_lease
with hold_lease(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_held(tmp_path)
        refused = pytest.raises(Conducted, match=rf"is conducted by process {holder.pid} on ")
        with refused as refusal, hold_lease(tmp_path):
            pass
        assert refusal.value.exit_code == 5
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert not is_held(tmp_path)
    with hold_lease(tmp_path):
        assert f'"process": {os.getpid()}' in (tmp_path / "driver.lock").read_text()


def test_a_lease_ends_with_its_block(tmp_path: Path) -> None:
    with hold_lease(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "nowhere")
