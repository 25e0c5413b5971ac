"""`ray up`, `ray submit`, `ray down` on two hosts of this machine: the product's main way, as it is typed."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest

from orchestrator.report.find import find_search
from orchestrator.report.search_log import read_search
from tests.cluster.hosts import ADDRESSES, Hosts, hosts
from tests.cluster.mlflow_server import PASSWORD, USER
from tests.cluster.on_premises import RAY, ROOT, TOKEN, OnPremises, describe
from tests.end_to_end.commands import SCRIPT, beside, environment, repeatable, run
from tests.end_to_end.test_secrets import holding

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

EXPERIMENT = """
name: pairs
seed: 3
data: {source: "builtin:digits-pair"}
tasks:
  left: {type: multiclass, label: left}
  right: {type: multiclass, label: right}
model: {backbone: {name: small_cnn, width: 16}}
training: {epochs: 1, batch_size: 512, optimizer: {name: adam, lr: 3e-3}, precision: fp64}
search:
  trials: 4
  sampler: random
  space: {"balancing.weights": {simplex: [left, right], min: 0.1}}
"""
LOGIN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
MLFLOW_LOGIN = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
PLANTED = "planted-at-the-client"
OTHER_RAY = """
import ray, time
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
print("up", flush=True)
input()
print(ray.get(ray.remote(lambda: "still here").remote()))
"""


@pytest.fixture(scope="module")
def other_ray() -> Iterator["subprocess.Popen[str]"]:
    with beside(OTHER_RAY, "up", {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}) as process:
        yield process


@pytest.fixture(scope="module")
def cluster(folder: Path, mlflow: str, other_ray: Any) -> Iterator[OnPremises]:
    """Two hosts, joined by `ray up`."""
    scratch, home = folder / "r", folder / "user"
    home.mkdir()
    (folder / "shared").mkdir()
    variables = {
        "EQUIPOISE_STORAGE": str(folder / "shared"),
        "MLFLOW_TRACKING_URI": mlflow,
        **MLFLOW_LOGIN,
    }
    with hosts(folder) as two:
        cluster = describe(two, home, scratch, variables)
        up = cluster.ray("up", "-y", str(cluster.file))
        try:
            assert up.returncode == 0, up.stdout
            _wait_for_worker(two)
            (home / "experiment.yaml").write_text(EXPERIMENT)
            yield cluster
        finally:
            cluster.ray("down", "-y", str(cluster.file))
            _stop_worker(two)
            cluster.forget()


def _wait_for_worker(two: Hosts) -> None:
    log = two.homes[1] / ".equipoise" / "ray.log"
    deadline = time.monotonic() + 240
    while not (log.exists() and "Ray runtime started" in log.read_text()):
        assert time.monotonic() < deadline, "the autoscaler has not started the worker"
        time.sleep(0.5)


def _stop_worker(two: Hosts) -> None:
    """`ray down` leaves workers of one's own machines to notice by themselves that the head is gone."""
    reach = ["-i", str(two.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    stop = "~/.equipoise/bin/ray stop"
    subprocess.run([two.bin / "ssh", *reach, f"{two.user}@{ADDRESSES[1]}", stop], check=True, timeout=60)


def submit(cluster: OnPremises, *options: str) -> str:
    """Write the launcher, `ray submit` it; what was printed."""
    home = cluster.file.parent
    written = run(home, "cluster", "launcher", "experiment.yaml", "--force", extra={"PYTHONPATH": str(ROOT)})
    assert written.returncode == 0, written.stderr
    done = cluster.ray("submit", str(cluster.file), str(home / "launch.py"), "--", *options, timeout=240)
    return done.stdout.replace("\r", "")


def processes_of(cluster: OnPremises) -> list[psutil.Process]:
    scratch = str(cluster.file.parent.parent / "r")
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if scratch in " ".join(process.info["cmdline"] or [])
    ]


def test_ray_up_installs_the_checkout_on_every_node(cluster: OnPremises) -> None:
    where = "import orchestrator, trainables, search_spaces as s; print(orchestrator.__file__, s.__file__)"
    for home in cluster.hosts.homes:
        python = home / ".equipoise" / "venv" / "bin" / "python"
        clean = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
        done = subprocess.run([python, "-c", where], cwd=home, env=clean, capture_output=True, text=True)
        source = home / ".equipoise" / "source"
        found = f"{source}/orchestrator/__init__.py {source}/search_spaces/__init__.py"
        assert done.stdout.strip() == found, done.stderr
        assert python.with_name("equipoise").exists()


def test_trials_with_a_worker_on_each_node_find_what_one_node_finds(
    cluster: OnPremises, folder: Path, mlflow: str
) -> None:
    printed = submit(cluster, "-n", "2", "-s", "compute.workers=2")
    assert "exit code: 0" in printed.splitlines(), printed
    assert PASSWORD not in printed
    assert TOKEN not in printed
    there = read_search(find_search(folder / "shared" / "equipoise_runs"))
    assert there.slots["workers"] == 2

    alone = folder / "alone"
    alone.mkdir()
    (alone / "experiment.yaml").write_text(EXPERIMENT)
    done = run(alone, "search", "experiment.yaml", "-n", "2", extra={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    here = read_search(find_search(alone / "equipoise_runs"))
    for theirs, ours in zip(there.trials, here.trials, strict=True):
        assert repeatable(theirs.metrics) == pytest.approx(repeatable(ours.metrics), abs=1e-6)

    assert len(_runs(mlflow)) == 3, "the search and its two trials"


def _runs(mlflow: str) -> list[Any]:
    code = (
        "import mlflow; c = mlflow.MlflowClient(); e = c.get_experiment_by_name('pairs');"
        "print(*[run.info.status for run in c.search_runs([e.experiment_id])])"
    )
    listed = subprocess.run(
        [sys.executable, "-c", code],
        env=environment({"MLFLOW_TRACKING_URI": mlflow, **MLFLOW_LOGIN}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return listed.stdout.split()


def test_a_lost_connection_leaves_the_search_running_and_the_same_command_follows_it_again(
    cluster: OnPremises, folder: Path
) -> None:
    home = cluster.file.parent
    run(home, "cluster", "launcher", "experiment.yaml", "--force", extra={"PYTHONPATH": str(ROOT)})
    path = f"{cluster.hosts.bin}{os.pathsep}{os.environ['PATH']}"
    connection = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "submit", str(cluster.file), str(home / "launch.py")],
        cwd=ROOT,
        env=environment({"PATH": path, "HOME": str(home)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    assert connection.stdout is not None
    for line in connection.stdout:
        if "started the job" in line:
            break
    os.killpg(connection.pid, signal.SIGKILL)
    connection.stdout.close()
    connection.wait()
    printed = submit(cluster)
    assert "following the job pairs-" in printed, printed
    assert "4 completed" in printed, printed
    assert "exit code: 0" in printed.splitlines(), printed


def test_the_true_exit_code_is_the_last_line_but_for_what_ray_and_ssh_say_of_themselves(
    cluster: OnPremises,
) -> None:
    lines = submit(cluster, "-s", "training.epochs=none").rstrip().splitlines()
    after = [line.strip() for line in lines[lines.index("exit code: 2") + 1 :]]
    theirs = ("Command failed:", "ssh -tt", "onnection to 127.0.0.1 closed")
    assert all(not line or any(words in line for words in theirs) for line in after), after
    assert any("training.epochs" in line for line in lines)
    again = submit(cluster, "-s", "training.epochs=none")
    assert re.search(r"started the job pairs-\w{8}-2;", again), "what never trained is not followed again"


def test_a_file_as_tracking_store_is_refused_on_two_nodes(cluster: OnPremises, folder: Path) -> None:
    printed = submit(cluster, "-s", f"tracking.mlflow=sqlite:///{folder}/results.db")
    assert "exit code: 5" in printed.splitlines(), printed
    assert "is a file on one of the cluster's 2 nodes" in printed


def test_the_same_search_from_a_laptop_or_ci_outlives_who_waits_for_it(
    cluster: OnPremises, mlflow: str
) -> None:
    """Whose connection is killed, then ended by Ctrl-C, then stays."""
    home = cluster.file.parent
    variables = {**LOGIN, "MLFLOW_TRACKING_URI": mlflow, **MLFLOW_LOGIN, "MLFLOW_PLANTED_SECRET": PLANTED}
    command = ["search", "experiment.yaml", "--address", cluster.dashboard, "-n", "1", "--json"]
    command += ["-s", "training.epochs=4"]

    def connect() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [SCRIPT, *command],
            cwd=home,
            env=environment(variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    killed = connect()
    assert killed.stderr is not None
    started = killed.stderr.readline()
    killed.kill()
    killed.communicate()
    interrupted = connect()
    assert interrupted.stderr is not None
    following = interrupted.stderr.readline()
    assert started.replace("started", "following") == following
    interrupted.send_signal(signal.SIGINT)
    assert "the same command follows it again" in interrupted.communicate(timeout=60)[1]
    assert interrupted.returncode == 130
    done = run(home, *command, extra=variables, seconds=200)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert '"event": "search_finished"' in line
    assert done.stderr.startswith(following)
    refused = run(home, *command, extra={**LOGIN, "RAY_AUTH_TOKEN": "f" * 64})
    assert refused.returncode == 5, refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr


def test_a_search_that_is_stopped_keeps_and_tells_what_was_done(cluster: OnPremises, folder: Path) -> None:
    home = cluster.file.parent
    search = subprocess.Popen(
        [SCRIPT, "search", "experiment.yaml", "--address", cluster.dashboard, "-s", "training.epochs=500"],
        cwd=home,
        env=environment(LOGIN),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    known = len(list((folder / "shared" / "equipoise_runs").glob("*")))
    deadline = time.monotonic() + 120
    while not _has_an_epoch(folder / "shared" / "equipoise_runs" / f"pairs-{known + 1:03d}"):
        assert time.monotonic() < deadline
        assert search.poll() is None, search.communicate()
        time.sleep(0.2)
    (job,) = _running_jobs(cluster, home)
    run(home, "job", "stop", job, "--no-wait", "--address", cluster.dashboard, command=(RAY,), extra=LOGIN)
    printed, complaint = search.communicate(timeout=120)
    assert search.returncode == 130, printed + complaint
    assert "interrupted" in printed
    assert read_search(folder / "shared" / "equipoise_runs" / f"pairs-{known + 1:03d}").told


def test_secrets_are_in_no_file_and_no_answer(cluster: OnPremises, folder: Path) -> None:
    """After all those searches: neither where they ran nor where they are looked at."""
    request = Request(f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
    with urlopen(request, timeout=30) as answer:
        jobs = answer.read().decode()
    assert "orchestrator.launch.job" in jobs
    with contextlib.closing(sqlite3.connect(folder / "mlflow" / "server.db")) as database:
        told = "\n".join(database.iterdump())
    assert "small_cnn" in told
    logs = folder / "r"
    assert holding(logs, "pairs-001") != [], "there are logs to be searched"
    for secret in (PASSWORD, TOKEN, PLANTED):
        assert secret not in jobs
        assert secret not in told
        for place in (folder / "shared", folder / "mlflow" / "artifacts", logs):
            assert holding(place, secret) == []


def _has_an_epoch(directory: Path) -> bool:
    journal = directory / "journal.jsonl"
    return journal.exists() and '"event":"epoch"' in journal.read_text()


def _running_jobs(cluster: OnPremises, home: Path) -> list[str]:
    listed = run(home, "job", "list", "--address", cluster.dashboard, command=(RAY,), extra=LOGIN).stdout
    return [
        str(re.search(r"submission_id='([^']+)'", entry)[1])  # type: ignore[index]
        for entry in listed.split("JobDetails(")
        if "RUNNING" in entry
    ]


def test_another_ray_on_the_hosts_outlives_the_cluster(
    cluster: OnPremises, other_ray: "subprocess.Popen[str]"
) -> None:
    down = cluster.ray("down", "-y", str(cluster.file))
    assert down.returncode == 0, down.stdout
    _stop_worker(cluster.hosts)
    deadline = time.monotonic() + 30
    while left := processes_of(cluster):
        assert time.monotonic() < deadline, [process.cmdline() for process in left]
        time.sleep(0.5)
    assert other_ray.communicate("\n", timeout=60)[0] == "still here\n"
