"""Planted secrets: nothing that a run prints, keeps or tells MLflow holds them."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cluster.mlflow_server import PASSWORD, USER, mlflow_server
from tests.end_to_end.commands import EXPERIMENT, last_line, run

SECRET = "planted-in-the-environment"


def holding(folder: Path, secret: str) -> list[Path]:
    """Files below that hold the secret."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_secret_leaves_the_environment(tmp_path: Path) -> None:
    server, project = tmp_path / "server", tmp_path / "project"
    server.mkdir()
    project.mkdir()
    (project / "experiment.yaml").write_text(EXPERIMENT)
    (project / "mine.py").write_text(
        f"def build(channels, image_size):\n    raise RuntimeError('cannot log in with {SECRET}')\n"
    )
    with mlflow_server(server) as address:
        uri = address.replace("//", f"//{USER}:{PASSWORD}@")
        secrets = {"MLFLOW_TRACKING_URI": uri, "AWS_SECRET_ACCESS_KEY": SECRET, "PYTHONPATH": str(project)}
        login = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        apart = secrets | {"MLFLOW_TRACKING_URI": address} | login
        told = last_line(run(project, "search", "experiment.yaml", "--json", "-n", "1", extra=secrets))
        shown = run(project, "search", "experiment.yaml", "-v", "-n", "1", extra=apart)
        broken = run(
            project,
            "train",
            "experiment.yaml",
            "-s",
            "model.backbone=mine:build",
            "-s",
            "search=null",
            extra=secrets,
        )
    assert told["tracking_uri"] == address
    assert shown.returncode == 0, shown.stderr
    assert broken.returncode == 1
    assert "cannot log in with ***" in broken.stdout + broken.stderr
    printed = json.dumps(told) + shown.stdout + shown.stderr + broken.stdout + broken.stderr
    with sqlite3.connect(server / "server.db") as database:
        assert database.execute("select count(*) from runs").fetchone()[0] >= 4, "MLflow was told"
        dump = "\n".join(database.iterdump())
    assert holding(server / "artifacts", "small_cnn") != [], "there are files to be searched"
    for secret in (PASSWORD, SECRET):
        assert secret not in printed
        assert secret not in dump
        assert holding(project / "equipoise_runs", secret) == []
        assert holding(server / "artifacts", secret) == []
