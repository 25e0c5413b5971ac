"""The command of a cluster's job: `python -m orchestrator.launch.job [OPTIONS of equipoise search]`.

It begins in the folder that was uploaded, which goes when the job ends, and moves to `$EQUIPOISE_STORAGE`, a folder
that all nodes see: relative paths of the experiment start there, and so do its results.
"""

import json
import os
import sys
from pathlib import Path

from orchestrator.errors import ClusterError
from orchestrator.launch.submission import ENVIRONMENT_FILE, EXPERIMENT_FILE, JOB
from trainables.durable import make_folders

STORAGE = "EQUIPOISE_STORAGE"
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def prepare() -> Path:
    """Take what was uploaded, go to where results are kept, and return the experiment's file there.

    Raises:
        ClusterError: the folder cannot be written.
    """
    secrets = Path(ENVIRONMENT_FILE)
    os.environ.update(json.loads(secrets.read_text()))
    secrets.unlink()
    experiment = Path(EXPERIMENT_FILE).read_text()
    _keep_upload_from_workers()
    storage = Path(os.environ.get(STORAGE) or "~/equipoise").expanduser()
    file = storage / f"{os.environ[JOB]}.yaml"
    try:
        make_folders(storage)
        file.write_text(experiment)
    except OSError as error:
        raise ClusterError(
            f"{STORAGE}: {storage} cannot be written on the head: {error.strerror}",
            "Mount the shared folder there, or name another one in cluster.env.",
        ) from error
    os.environ.setdefault("EQUIPOISE_CACHE", str(storage / "cache"))
    os.chdir(storage)
    return file


def _keep_upload_from_workers() -> None:
    """Drop the uploaded folder from what workers get: it is not for them, and costs each 1.5 s at its start."""
    config = json.loads(os.environ.get(_JOB_CONFIG, "{}"))
    config.pop("runtime_env", None)
    os.environ[_JOB_CONFIG] = json.dumps(config)


def main(arguments: list[str]) -> None:
    """Run the search. Ends the process with its exit code."""
    from orchestrator.cli import main as run_command

    try:
        experiment = prepare()
    except ClusterError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        sys.exit(error.exit_code)
    sys.argv = ["equipoise", "search", str(experiment), *arguments]
    run_command()


if __name__ == "__main__":
    main(sys.argv[1:])
