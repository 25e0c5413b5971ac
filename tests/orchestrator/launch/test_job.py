"""A job moves its experiment to where results last, and takes its secrets along, not its workers'."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.launch.job import prepare
from tests.end_to_end.commands import EXPERIMENT, environment


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    folder = tmp_path / "upload"
    folder.mkdir()
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    variables = {"EQUIPOISE_JOB": "pairs-1", "MLFLOW_TRACKING_PASSWORD": "secret"}
    (folder / "environment.json").write_text(json.dumps(variables))
    return folder


def test_an_experiment_is_kept_with_its_results(
    upload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"runtime_env": {"working_dir": str(upload)}, "metadata": {"job_submission_id": "pairs-1"}}
    for name, value in {
        "EQUIPOISE_STORAGE": str(tmp_path / "shared"),
        "EQUIPOISE_CACHE": "",
        "EQUIPOISE_JOB": "",
        "MLFLOW_TRACKING_PASSWORD": "",
        "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job),
    }.items():
        monkeypatch.setenv(name, value)  # so that all are as before afterwards
    monkeypatch.delenv("EQUIPOISE_CACHE")
    monkeypatch.chdir(upload)
    assert prepare().read_text() == EXPERIMENT
    assert Path.cwd() == tmp_path / "shared"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"
    assert os.environ["EQUIPOISE_CACHE"] == str(tmp_path / "shared" / "cache")
    assert not (upload / "environment.json").exists()
    assert json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"]) == {"metadata": job["metadata"]}


def test_a_shared_folder_that_is_not_there_is_told(upload: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.launch.job"],
        cwd=upload,
        env=environment({"EQUIPOISE_STORAGE": "/proc/shared", "PYTHONPATH": os.pathsep.join(sys.path)}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 5
    assert "EQUIPOISE_STORAGE: /proc/shared cannot be written on the head" in done.stderr
    assert "Traceback" not in done.stderr
