"""The documented Slurm job, as it is typed, on a Slurm cluster of two nodes."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.report.search_log import read_search
from tests.cluster.mlflow_server import PASSWORD, USER
from tests.cluster.on_premises import RAY, ROOT
from tests.cluster.slurm import NODES, Slurm, slurm
from tests.cluster.test_ray_submit import EXPERIMENT
from tests.end_to_end.commands import a_mark, descendants, run

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

JOB = ROOT / "docs" / "clusters" / "slurm.sbatch"
# What the nodes of this machine do not have.
SMALL = ["--cpus-per-task=1", "--gpus-per-task=0"]


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Slurm]:
    with slurm(folder) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def project(folder: Path) -> Path:
    """The folder that all nodes see, with an installation and an experiment."""
    project = folder / "project"
    project.mkdir()
    (project / ".venv").symlink_to(sys.prefix)
    (project / "experiment.yaml").write_text(EXPERIMENT)
    return project


@pytest.fixture(scope="module")
def mark() -> dict[str, str]:
    return a_mark()


@pytest.fixture(scope="module")
def submit(cluster: Slurm, mlflow: str, project: Path, mark: dict[str, str]) -> Callable[..., str]:
    """`sbatch` of the documented job with options of the search; the job's number."""
    login = {
        "MLFLOW_TRACKING_URI": mlflow,
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "PYTHONPATH": str(ROOT),
        **mark,
    }

    def submit(*arguments: str, options: tuple[str, ...] = ()) -> str:
        command = ["sbatch", "--parsable", *SMALL, *options, str(JOB), *arguments]
        return cluster.run(*command, folder=project, extra=login).strip()

    return submit


def wait_for(happened: Callable[[], bool], project: Path) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline, [file.read_text() for file in project.glob("slurm-*")]
        time.sleep(0.3)


def has_ended(cluster: Slurm, job: str) -> bool:
    return cluster.job(job)["JobState"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")


def has(event: str, run: Path) -> bool:
    journal = run / "journal.jsonl"
    return journal.exists() and f'"event":"{event}"' in journal.read_text()


@pytest.fixture(scope="module")
def interrupted(cluster: Slurm, submit: Callable[..., str], project: Path) -> str:
    """A job whose script got, in its first epochs, the signal that Slurm sends before the time limit."""
    job = submit("experiment.yaml", "-n", "4", "-s", "training.epochs=2")
    wait_for(lambda: has("epoch", project / "equipoise_runs" / "pairs-001"), project)
    cluster.run("scancel", "--batch", "--signal=TERM", job)
    wait_for(lambda: has_ended(cluster, job), project)
    return job


def test_what_the_file_asks_for_is_understood(cluster: Slurm, project: Path) -> None:
    cluster.run("sbatch", "--test-only", str(JOB), "experiment.yaml", "-n", "40", folder=project)


def test_the_signal_before_the_time_limit_interrupts_a_search_which_tells_what_was_done(
    cluster: Slurm, interrupted: str, project: Path, mark: dict[str, str]
) -> None:
    state = cluster.job(interrupted)
    assert (state["JobState"], state["ExitCode"]) == ("FAILED", "130:0")
    printed = (project / f"slurm-{interrupted}.out").read_text()
    assert "2 trials at a time" in printed, printed
    assert "pairs-001 interrupted" in printed
    assert "equipoise resume pairs-001" in printed
    assert descendants(mark) == []
    assert not Path(f"/tmp/eqp-{interrupted}").exists()


def test_it_goes_on_while_another_search_has_its_head_on_the_same_node(
    cluster: Slurm, submit: Callable[..., str], interrupted: str, project: Path, mark: dict[str, str]
) -> None:
    alone = ("--nodes=1", f"--nodelist={NODES[0]}")
    jobs = [submit("resume"), submit("experiment.yaml", "-n", "2", "-s", "name=other", options=alone)]
    wait_for(lambda: has("epoch", project / "equipoise_runs" / "other-001"), project)
    assert_only_its_token_opens(jobs[1], project)
    for job, name, nodes, trials in zip(jobs, ("pairs-001", "other-001"), (2, 1), (4, 2), strict=True):
        wait_for(lambda job=job: has_ended(cluster, job), project)  # type: ignore[misc]
        printed, log = (project / f"slurm-{job}{end}" for end in (".out", ".ray"))
        state = cluster.job(job)
        assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), printed.read_text()
        assert log.read_text().count("Ray runtime started.") == nodes, log.read_text()
        record = read_search(project / "equipoise_runs" / name)
        assert [trial.status for trial in record.trials] == ["completed"] * trials
        assert record.told
        assert not Path(f"/tmp/eqp-{job}").exists()
        assert record.slots["slots"] == nodes
    assert descendants(mark) == []


def assert_only_its_token_opens(job: str, project: Path) -> None:
    there = f"127.0.0.1:{20000 + 2 * int(job)}"
    login = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}
    done = run(project, "status", "--address", there, command=(RAY,), extra=login)
    assert done.returncode != 0, done.stdout
    assert "InvalidAuthToken" in done.stdout + done.stderr
