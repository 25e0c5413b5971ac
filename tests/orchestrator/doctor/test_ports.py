"""The port of `equipoise ui`, as the doctor finds it."""

import socket

from orchestrator.doctor.ports import ports
from tests.orchestrator.doctor.http_servers import http_server


def test_a_port_that_is_free_or_mlflows_is_well() -> None:
    with http_server(body=b"3.9.0") as port:
        assert (ports(port).status, "MLflow" in ports(port).message) == ("ok", True)
    assert (ports(port).status, "is free" in ports(port).message) == ("ok", True)


def test_a_port_of_somebody_else_is_told_with_another_one() -> None:
    with http_server(body=b"<html>") as port:
        found = ports(port)
    assert (found.code, found.status) == ("ports", "warning")
    assert f"--port {port + 1}" in found.cure


def test_what_listens_and_never_answers_is_somebody_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ports(silent.getsockname()[1]).status == "warning"
