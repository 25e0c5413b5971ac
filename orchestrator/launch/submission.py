"""Starts a search as a job of a Ray cluster.

The job is found again by its id, which follows from the experiment and its options. What must not be seen in a
dashboard or a log, such as a password of MLflow's, travels in the uploaded folder, never in the job's description.
"""

import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from orchestrator.errors import ClusterError, ConfigError
from orchestrator.launch.follow import exit_code_of
from orchestrator.machines.scratch import scratch_folder

DATA = 3
"""The exit code of a `DataError`."""
SECONDS_TO_END = "60"
"""What a search that is stopped has to say its ending; Ray's default of 3 s is too short to tell MLflow."""
EXPERIMENT_FILE = "experiment.yaml"
ENVIRONMENT_FILE = "environment.json"
JOB = "EQUIPOISE_JOB"
"""The variable with the job's id."""


@dataclass(frozen=True)
class Submission:
    """A search to be run elsewhere."""

    name: str
    """Of the experiment."""
    experiment: str
    """The text of its file."""
    options: tuple[str, ...] = ()
    """Of `equipoise search`."""

    @property
    def job(self) -> str:
        """The id of its first job: the same for the same experiment and options."""
        content = json.dumps([self.experiment, self.options])
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def job_client(address: str) -> Any:
    """Ray's client for the jobs of the cluster whose dashboard is at `address` (http://host:8265).

    Raises:
        ClusterError: no dashboard answers there, or it wants another token.
    """
    from ray.job_submission import JobSubmissionClient

    for quiet in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(quiet).setLevel(logging.ERROR)  # after the import, which sets it
    try:
        return JobSubmissionClient(address.rstrip("/"))
    except Exception as error:  # Ray raises ConnectionError and RuntimeError, with a paragraph each
        raise ClusterError(
            f"no dashboard of Ray answers at {address}: {str(error).strip().splitlines()[0]}",
            "Check the address and, if the cluster asks for a token, RAY_AUTH_MODE=token and RAY_AUTH_TOKEN. From "
            "outside the cluster, forward its port: ray attach cluster.yaml -p 8265.",
        ) from error


def start_or_find(client: Any, submission: Submission, *, again: bool = False) -> tuple[str, bool]:
    """Start the job of a search, unless there is one. Returns its id, and whether it was started now.

    A job that ended before it trained, for something that could be mended (exit codes 2, 3 and 5), counts as none.

    Args:
        client: of `job_client`.
        submission: the search.
        again: start another one also if the last one has trained and ended.

    Raises:
        ClusterError: the cluster takes no job.
    """
    known = [job for job in client.list_jobs() if _number(submission, job.submission_id)]
    latest = max(known, key=lambda job: _number(submission, job.submission_id), default=None)
    if latest is not None and not (latest.status.is_terminal() and (again or _never_trained(latest))):
        return str(latest.submission_id), False
    number = 1 if latest is None else _number(submission, latest.submission_id) + 1
    job = submission.job if number == 1 else f"{submission.job}-{number}"
    with scratch_folder() as folder:
        (folder / EXPERIMENT_FILE).write_text(submission.experiment)
        # With the job's name, since folders of equal content are one and the same to Ray.
        variables = {JOB: job, **mlflow_variables(os.environ)}
        (folder / ENVIRONMENT_FILE).write_text(json.dumps(variables))
        try:
            client.submit_job(
                entrypoint=entrypoint(submission.options),
                submission_id=job,
                runtime_env={
                    "working_dir": str(folder),
                    "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": SECONDS_TO_END},
                },
                metadata={"equipoise": submission.name},
            )
        except Exception as error:
            raise ClusterError(
                f"the cluster takes no job: {error}", "See the head's logs: ray logs cluster dashboard.log"
            ) from error
    return job, True


def entrypoint(options: Sequence[str]) -> str:
    """The command of the job, for the head's shell."""
    return shlex.join(["python", "-m", "orchestrator.launch.job", *options])


def mlflow_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What MLflow reads from the environment, as far as it means the same on another machine."""
    found = {name: value for name, value in environment.items() if name.startswith("MLFLOW_")}
    if urlsplit(found.get("MLFLOW_TRACKING_URI", "")).scheme in ("", "file", "sqlite"):
        found.pop("MLFLOW_TRACKING_URI", None)
    return found


def _never_trained(job: Any) -> bool:
    return exit_code_of(job) in (ConfigError.exit_code, DATA, ClusterError.exit_code)


def _number(submission: Submission, job: str | None) -> int:
    """1 for the first job of a search, 2 for the second and so on; 0 for all other jobs."""
    match = re.fullmatch(rf"{re.escape(submission.job)}(?:-(\d+))?", job or "")
    return 0 if match is None else int(match[1] or 1)
