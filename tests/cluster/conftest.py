"""What a cluster's tests share: a folder, and an MLflow server that stores below it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.mlflow_server import mlflow_server


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Short, because sockets below it may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="eqp-cluster-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def mlflow(folder: Path) -> Iterator[str]:
    (folder / "mlflow").mkdir()
    with mlflow_server(folder / "mlflow") as address:
        yield address
