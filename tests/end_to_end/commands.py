"""Commands as a user gives them: the installed script, in a folder of its own."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

MARK = "EQUIPOISE_TEST"
"""An environment variable that every process started by a command inherits, whoever becomes its parent."""
SCRIPT = str(Path(sys.executable).with_name("equipoise"))
TO_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""For a process that is to join a private Ray: without it, `ray.init` replaces 127.0.0.1 by another address."""
EXPERIMENT = """
name: pairs
seed: 3
data: {source: "builtin:digits-pair"}
tasks:
  left: {type: multiclass, label: left}
  right: {type: multiclass, label: right}
model: {backbone: {name: small_cnn, width: 16}}
training: {epochs: 2, optimizer: {name: adam, lr: 3e-3}, precision: fp32}
search:
  trials: 4
  sampler: random
  space:
    balancing.weights: {simplex: [left, right], min: 0.1}
    model.backbone.width: {choice: [16, 32]}
"""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what was set for Ray or MLflow here, and with `extra`."""
    ours = ("RAY_", "TUNE_", "MLFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | dict(
        extra or {}
    )


def overridden(settings: Sequence[str]) -> list[str]:
    """`-s` and each of the settings."""
    return [part for setting in settings for part in ("-s", setting)]


def a_mark() -> dict[str, str]:
    """An environment for `run` by which `descendants` knows its processes again."""
    return {MARK: secrets.token_hex(8)}


def descendants(mark: Mapping[str, str]) -> list[str]:
    """Names of the processes that run under this mark now; those of other suites are not among them."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.environ().get(MARK) == mark[MARK]:
                found.append(process.info["name"])
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def rays(mark: Mapping[str, str]) -> list[str]:
    """Those of them that are Ray's."""
    return [name for name in descendants(mark) if name == "gcs_server" or name.startswith("ray")]


def nothing_stays(mark: Mapping[str, str], within: float = 60.0) -> bool:
    """Whether no Ray runs under this mark now, and soon nothing: MLflow's writer finishes its pictures by itself."""
    if rays(mark):
        return False
    until = time.monotonic() + within
    while descendants(mark):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


@contextlib.contextmanager
def beside(program: str, ready: str, extra: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Somebody else's Python program, which says that it is `ready` and goes on when it is given a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(extra),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{ready}\n"
    yield process
    if process.poll() is None:
        process.communicate("\n", timeout=60)


def kill_family(process: "subprocess.Popen[Any]") -> None:
    """Kill a command and all that it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    process.kill()
    process.wait(20)


def run(
    folder: Path,
    *arguments: str,
    command: tuple[str, ...] = (SCRIPT,),
    extra: Mapping[str, str] | None = None,
    seconds: float = 110.0,
) -> subprocess.CompletedProcess[str]:
    """Run `equipoise` (or another command) with `arguments` in `folder`, `extra` in its environment."""
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment(extra),
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one line of a `--json` command that has said nothing else."""
    assert done.returncode in (0, 4), done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    line: dict[str, Any] = json.loads(lines[0])
    return line


def repeatable(metrics: dict[str, float]) -> dict[str, float]:
    """Without what is measured in seconds."""
    return {name: value for name, value in metrics.items() if name != "model.latency_ms"}
