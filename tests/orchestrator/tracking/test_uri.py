"""Tracking URIs are absolute, and what MLflow cannot use is refused with the cure."""

import os
import socket
from pathlib import Path

import pytest

from orchestrator.errors import TrackingError
from orchestrator.tracking.uri import (
    artifact_root,
    database_path,
    experiment_link,
    is_remote,
    resolve_tracking_uri,
    unreachable,
    with_login,
    without_login,
)


@pytest.mark.parametrize(
    ("mlflow", "environment", "uri"),
    [
        pytest.param("auto", None, "sqlite:///{base}/mlflow.db", id="default"),
        pytest.param("auto", "http://10.0.0.5:5000/", "http://10.0.0.5:5000", id="environment"),
        pytest.param("auto", "sqlite:///my.db", "sqlite:///{base}/my.db", id="relative-environment"),
        pytest.param("sqlite:///runs/a.db", "http://x", "sqlite:///{base}/runs/a.db", id="relative"),
        pytest.param("sqlite:////srv/a.db", None, "sqlite:////srv/a.db", id="absolute"),
        pytest.param("https://mlflow.org/x", None, "https://mlflow.org/x", id="server"),
        pytest.param("postgresql+psycopg://u@h/d", None, "postgresql+psycopg://u@h/d", id="postgresql"),
        pytest.param("databricks", None, "databricks", id="databricks"),
    ],
)
def test_resolved(
    mlflow: str, environment: str | None, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if environment is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    assert resolve_tracking_uri(mlflow, tmp_path) == uri.format(base=tmp_path.resolve())


@pytest.mark.parametrize(
    "mlflow", ["mlruns", "/srv/mlruns", "file:///srv/mlruns", "C:\\runs", "s3://b/x", "sqlite://"]
)
def test_refused_with_a_cure(mlflow: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"sqlite:///mlflow\.db") as caught:
        resolve_tracking_uri(mlflow, tmp_path)
    assert caught.value.exit_code == 5


def test_artifacts_are_beside_the_database(tmp_path: Path) -> None:
    uri = resolve_tracking_uri("sqlite:///mlflow.db", tmp_path)
    assert database_path(uri) == tmp_path / "mlflow.db"
    assert artifact_root(uri) == (tmp_path / "mlartifacts").as_uri()
    assert artifact_root("http://host") is None
    assert is_remote("http://host")
    assert not is_remote(uri)


def test_a_mistyped_server_is_noticed() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert "refused" in str(unreachable(f"http://127.0.0.1:{nobody.getsockname()[1]}"))
    assert unreachable("sqlite:////nowhere/mlflow.db") is None


def test_links_open_in_training_mode() -> None:
    assert (
        experiment_link("http://h:1/", "3") == "http://h:1/?workflowType=machine_learning#/experiments/3/runs"
    )


def test_a_recorded_address_gets_its_login_back_in_a_way_that_is_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")  # so that it is put back afterwards
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hush@db/runs")
    assert without_login("postgresql://me:hush@db/runs") == "postgresql://db/runs"
    assert with_login("postgresql://db/runs") == "postgresql://me:hush@db/runs"
    assert with_login("postgresql://other/runs") == "postgresql://other/runs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:p%40ss@host/ml/")
    assert with_login("https://host/ml") == "https://host/ml"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p@ss"
