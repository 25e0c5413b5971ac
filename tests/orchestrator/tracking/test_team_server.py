"""The documented server for a team keeps out who may not come in, and a search writes to it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.end_to_end.commands import EXPERIMENT, run
from tests.orchestrator.tracking.team_server import (
    DOCUMENT,
    NAME,
    PASSWORD,
    USER,
    TeamServer,
    documented_lines,
    known_by_name,
    team_server,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CREATE = "/api/2.0/mlflow/experiments/create"
LOGIN = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("team")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[TeamServer]:
    with team_server(folder) as running:
        yield running


def names_of_runs(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "server.db")) as connection:
        return {name for (name,) in connection.execute("select name from runs")}


def test_the_documented_installation_is_what_is_tested_here() -> None:
    requirement = Requirement(documented_lines()[0].split("'")[1])
    assert requirement.name == "mlflow"
    assert requirement.extras == {"auth"}
    assert version("mlflow") in requirement.specifier


def test_the_documented_calls_print_what_is_documented(server: TeamServer, tmp_path: Path) -> None:
    (block,) = (text for text in DOCUMENT.read_text().split("```")[1::2] if "curl" in text)
    expected = [line.rpartition("# ")[2] for line in block.splitlines() if "# " in line]
    assert sorted(expected) == ["200", "401", "403", "403"]
    assert server.run_documented(tmp_path).split() == expected


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ((USER, PASSWORD), 200),
        (None, 401),
        ((USER, "wrong"), 401),
        (("nobody", PASSWORD), 401),
        ((USER, ""), 401),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_the_right_login_gets_in(
    login: tuple[str, str] | None, expected: int, method: str, server: TeamServer
) -> None:
    if method == "GET":
        assert server.status(login=login)[0] == expected
    else:
        body = json.dumps({"max_results": 1})
        assert (
            server.status("POST", "/api/2.0/mlflow/experiments/search", body=body, login=login)[0] == expected
        )


def test_a_token_is_no_login(server: TeamServer) -> None:
    assert server.status(login=None, headers={"Authorization": f"Bearer {PASSWORD}"})[0] == 401


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (NAME, 200),
        (f"{NAME}:5000", 200),
        ("evil.example.net", 403),
        (f"{NAME}.evil.example.net", 403),
        (f"evil.{NAME}", 403),
        ("127.0.0.1", 403),
    ],
)
def test_only_the_servers_own_name_is_answered(host: str, expected: int, server: TeamServer) -> None:
    assert server.status(host=host)[0] == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (f"https://{NAME}", 200),
        ("https://evil.example.net", 403),
        (f"https://{NAME}.evil.example.net", 403),
        (f"http://{NAME}", 403),
        ("null", 403),
        ("http://localhost:8000", 200),
    ],
)
def test_only_the_servers_own_pages_may_write(origin: str, expected: int, server: TeamServer) -> None:
    body = json.dumps({"name": f"from {origin}"})
    status, _ = server.status("POST", CREATE, body=body, headers={"Origin": origin})
    assert status == expected
    found, _ = server.status(
        path="/api/2.0/mlflow/experiments/get-by-name?experiment_name=from%20" + origin.replace("/", "%2F")
    )
    assert found == (200 if expected == 200 else 404)


def test_a_browser_is_told_which_pages_may_read(server: TeamServer) -> None:
    for origin, allowed in ((f"https://{NAME}", f"https://{NAME}"), ("https://evil.example.net", None)):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        _, headers = server.status("OPTIONS", CREATE, headers=asked)
        assert headers.get("access-control-allow-origin") == allowed


def test_a_search_with_the_right_login_is_kept(server: TeamServer, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    with known_by_name(server) as variables:
        done = run(tmp_path, "search", "experiment.yaml", "-n", "2", extra=variables | LOGIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"http://{NAME}/?workflowType=machine_learning#/experiments/" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert len(names_of_runs(folder)) == 3
    assert list((folder / "artifacts").rglob("resolved.yaml"))


@pytest.mark.parametrize("login", [{}, LOGIN | {"MLFLOW_TRACKING_PASSWORD": "wrong"}], ids=["none", "wrong"])
def test_a_search_with_a_wrong_login_is_refused_before_it_starts(
    login: dict[str, str], server: TeamServer, tmp_path: Path
) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    with known_by_name(server) as variables:
        done = run(tmp_path, "search", "experiment.yaml", extra=variables | login | {"HOME": str(tmp_path)})
    assert done.returncode == 5
    assert f"the MLflow server at http://{NAME} refuses the login: HTTP 401" in done.stderr
    assert "MLFLOW_TRACKING_USERNAME" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "equipoise_runs").exists()


def test_a_search_writes_to_a_server_behind_a_path(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    with (
        team_server(tmp_path / "server", "--static-prefix", "/ml", prefix="/ml") as behind,
        known_by_name(behind) as variables,
    ):
        there = {**variables, **LOGIN, "MLFLOW_TRACKING_URI": f"http://{NAME}/ml"}
        done = run(tmp_path, "search", "experiment.yaml", "-n", "2", extra=there)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"http://{NAME}/ml/?workflowType=machine_learning#/experiments/" in done.stdout
        refused = run(
            tmp_path, "search", "experiment.yaml", extra=there | {"MLFLOW_TRACKING_PASSWORD": "wrong"}
        )
        assert refused.returncode == 5
        for path in ("/ml/api/2.0/mlflow/experiments/get-by-name?experiment_name=pairs", "/ml/"):
            assert behind.status(path=path)[0] == 200
            assert behind.status(path=path, login=None)[0] == 401
            assert behind.status(path=path, host="evil.example.net")[0] == 403
    assert len(names_of_runs(tmp_path / "server")) == 3
    assert list((tmp_path / "server" / "artifacts").rglob("resolved.yaml"))
