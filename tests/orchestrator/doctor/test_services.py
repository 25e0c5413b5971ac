"""What the doctor says of MLflow and of Ray, asked through real sockets."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.doctor import services
from orchestrator.doctor.finding import Finding, exit_code
from orchestrator.machines.connection import RayAddress
from tests.orchestrator.doctor.http_servers import http_server


def told(uri: str, *, several_nodes: bool = False) -> dict[str, str]:
    return {f.code: f.status for f in services.mlflow(uri, several_nodes=several_nodes)}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a login nor the Ray that other tests are connected to."""
    monkeypatch.setattr(RayAddress, "from_environment", RayAddress)
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


def test_a_server_that_answers_is_well() -> None:
    with http_server() as port:
        assert told(f"http://127.0.0.1:{port}") == {"mlflow": "ok", "clock": "ok"}


def test_a_server_that_wants_a_login_gets_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(login="me:it is secret") as port:
        uri = f"http://127.0.0.1:{port}"
        assert told(uri)["mlflow-login"] == "problem"
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "it is secret")
        assert told(uri)["mlflow"] == "ok"


def test_a_login_in_the_address_is_used_and_never_said() -> None:
    with http_server(login="me:hush") as port:
        found = list(services.mlflow(f"http://me:hush@127.0.0.1:{port}", several_nodes=False))
    assert [finding.status for finding in found] == ["ok", "ok"]
    assert not any("hush" in finding.message + finding.cure for finding in found)


def test_what_is_no_mlflow_server_is_a_problem() -> None:
    with http_server(status=404) as port:
        assert told(f"http://127.0.0.1:{port}")["mlflow"] == "problem"
    assert told(f"http://127.0.0.1:{port}") == {"mlflow": "problem"}, "nobody listens any more"


def test_clocks_that_differ_are_told() -> None:
    with http_server(date="Mon, 01 Jan 2024 00:00:00 GMT") as port:
        assert told(f"http://127.0.0.1:{port}")["clock"] == "warning"


def test_a_folder_store_and_a_file_on_several_nodes_are_problems(tmp_path: Path) -> None:
    for folder in (f"file://{tmp_path}", str(tmp_path), "mlruns"):
        assert told(folder) == {"tracking-file": "problem"}
    assert told("nonsense://a") == {"mlflow": "problem"}
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert told(database) == {"mlflow": "ok"}
    assert told(database, several_nodes=True) == {"mlflow-sqlite": "problem", "mlflow": "ok"}


def test_a_database_that_somebody_holds_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "PATIENCE", 0.05)
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as holder:
        holder.execute("CREATE TABLE a (b)")
        holder.commit()
        assert told(f"sqlite:///{path}") == {"mlflow": "ok"}
        holder.execute("BEGIN EXCLUSIVE")
        assert told(f"sqlite:///{path}") == {"mlflow": "problem"}
    holder.close()


def test_a_dashboard_that_asks_nobody_is_a_problem_where_strangers_reach_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with http_server() as port:
        place = f"127.0.0.1:{port}"
        assert services.dashboard(place).status == "warning"
        monkeypatch.setattr(services, "LOOPBACK", ())
        assert services.dashboard(place).status == "problem"
    with http_server(login="a:b") as port:
        assert services.dashboard(f"127.0.0.1:{port}").status == "ok"
    assert "no dashboard answers" in services.dashboard(f"127.0.0.1:{port}").message


@pytest.mark.parametrize(("status", "said"), [(401, "ok"), (403, "ok"), (404, "warning"), (500, "warning")])
def test_only_401_and_403_ask_for_a_token(status: int, said: str) -> None:
    with http_server(status=status) as port:
        found = services.dashboard(f"127.0.0.1:{port}")
    assert found.status == said
    assert found.message.endswith("asks for a token") == (said == "ok")


def test_a_dashboard_is_looked_for_at_the_head_by_default() -> None:
    assert services.dashboard_by_default(RayAddress("10.0.0.1:6379")) == "10.0.0.1:8265"
    assert services.dashboard_by_default(RayAddress("[fd00::1]:6379")) == "[fd00::1]:8265"
    assert services.dashboard_by_default(RayAddress("auto")) is None


def test_a_private_ray_that_asks_for_no_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode, said in {"": "ok", "token": "ok", "TOKEN": "ok", "disabled": "warning"}.items():
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        (found,) = services.ray()
        assert (found.status, found.code) == (said, "ray" if said == "ok" else "ray-token")


def test_only_problems_end_with_5() -> None:
    assert exit_code([Finding("a", "ok", ""), Finding("b", "warning", "", "c")]) == 0
    assert exit_code([Finding("a", "ok", ""), Finding("b", "problem", "", "c")]) == 5


def test_the_command_says_what_it_found_and_ends_with_5(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 5, done.output
    assert "no server answers at http://127.0.0.1:9" in done.output
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    assert "nothing here would break a run" in done.output


def test_json_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    lines = done.stdout.splitlines() + capfd.readouterr().out.splitlines()
    told = json.loads(lines[0])
    assert len(lines) == 1
    assert told["event"] == "doctor_finished"
    assert {"code", "status", "message", "cure"} == set(told["findings"][0])


def test_a_token_that_is_missing_and_a_cluster_that_is_not_there_are_problems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with http_server() as port:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setattr(RayAddress, "from_environment", lambda: RayAddress(f"127.0.0.1:{port}"))
        assert {f.code: f.status for f in services.ray()}["ray-token"] == "problem"
    assert [f.status for f in services.ray()] == ["problem"]
