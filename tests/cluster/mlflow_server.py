"""A real MLflow server that asks for a login."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.end_to_end.commands import environment, kill_family
from tests.end_to_end.test_ray_address import free_ports

USER, PASSWORD = "admin", "correct-horse-battery"


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address; one worker, SQLite behind it, basic auth before it."""
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("needs Flask-WTF, as in mlflow[auth]")
    (port,) = free_ports(1)
    auth = folder / "auth.ini"
    auth.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = {USER}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *command,
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            env=environment(
                {
                    "MLFLOW_AUTH_CONFIG_PATH": str(auth),
                    "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 32,
                    "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                    "PYTHONPATH": os.pathsep.join(sys.path),
                }
            ),
            stdout=log,
            stderr=log,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, folder / "server.log")
        yield address
    finally:
        kill_family(server)


def _wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(URLError, OSError), urlopen(f"{address}/health", timeout=2):
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.3)
