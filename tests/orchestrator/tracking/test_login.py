"""A refused login is known before a search starts, and no login is ever shown."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.tracking.login import refuses_login
from orchestrator.tracking.uri import unreachable, without_login

ACCEPTED = ("Basic " + base64.b64encode(b"ada:secret").decode(), "Bearer t0ken")


class Guarded(BaseHTTPRequestHandler):
    """Answers as MLflow's server with a login before it."""

    def do_GET(self) -> None:
        allowed = self.path == "/health" or self.headers.get("Authorization") in ACCEPTED
        self.send_response(200 if allowed else 401)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with HTTPServer(("127.0.0.1", 0), Guarded) as guarded:
        thread = threading.Thread(target=guarded.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{guarded.server_port}"
        guarded.shutdown()
        thread.join()


def test_a_refused_login_is_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refuses_login(server) == "HTTP 401"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "another")
    assert refuses_login(server) == "HTTP 401"


def test_a_login_and_a_token_are_sent_as_mlflow_sends_them(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    assert refuses_login(server) is None
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert refuses_login(server) is None


def test_what_only_mlflow_knows_to_use_is_left_to_it(server: str, tmp_path: Path) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").touch()
    assert refuses_login(server) is None
    assert refuses_login("sqlite:///mlflow.db") is None


def test_a_login_in_the_address_is_neither_shown_nor_in_the_way(server: str) -> None:
    address = server.replace("http://", "http://ada:secret@")
    assert without_login(address) == server
    assert without_login("postgresql://ada:secret@db/mlflow") == "postgresql://db/mlflow"
    assert without_login("sqlite:////home/a@b/mlflow.db") == "sqlite:////home/a@b/mlflow.db"
    assert unreachable(address) is None
    assert refuses_login(address) is None
    assert refuses_login(server.replace("http://", "http://ada:wrong@")) == "HTTP 401"
