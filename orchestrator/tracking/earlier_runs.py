"""Where MLflow says that an earlier run keeps its files.

Asked by a process of its own (`python -m orchestrator.tracking.earlier_runs URI RUN_ID`), because who starts a
run must not import MLflow, which takes seconds.
"""

import json
import subprocess
import sys
from pathlib import Path

from orchestrator.errors import TrackingError
from orchestrator.tracking.uri import database_path, with_login, without_login

SECONDS = 60.0


def folder_of_run(tracking_uri: str, run_id: str) -> Path | None:
    """The folder of the trial that MLflow knows by `run_id`; None if it knows none that was trained here.

    Raises:
        TrackingError: MLflow does not answer.
    """
    database = database_path(tracking_uri)
    if database is not None and not database.exists():
        return None
    command = [
        sys.executable,
        "-m",
        "orchestrator.tracking.earlier_runs",
        without_login(tracking_uri),
        run_id,
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, text=True, timeout=SECONDS
        )
        folder = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise TrackingError(
            f"MLflow at {without_login(tracking_uri)} could not be asked for run {run_id}.",
            "Write runs:/<search>/<trial>, which needs no MLflow.",
        ) from error
    return None if folder is None else Path(folder)


if __name__ == "__main__":
    from orchestrator.tracking.mlflow_store import tag_of_run
    from orchestrator.tracking.scheme import FOLDER

    sys.stdout.write(json.dumps(tag_of_run(with_login(sys.argv[1]), sys.argv[2], FOLDER)))
