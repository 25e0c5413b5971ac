"""The port of `equipoise ui`, as the doctor finds it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from orchestrator.doctor.ports import ports


@contextmanager
def saying(body: bytes) -> Iterator[int]:
    """An HTTP server that answers everything with `body`; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            thread.join()


def test_a_port_that_is_free_or_mlflows_is_well() -> None:
    with saying(b"3.9.0") as port:
        assert (ports(port).status, "MLflow" in ports(port).message) == ("ok", True)
    assert (ports(port).status, "is free" in ports(port).message) == ("ok", True)


def test_a_port_of_somebody_else_is_told_with_another_one() -> None:
    with saying(b"<html>") as port:
        found = ports(port)
    assert (found.code, found.status) == ("ports", "warning")
    assert f"--port {port + 1}" in found.cure


def test_what_listens_and_never_answers_is_somebody_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ports(silent.getsockname()[1]).status == "warning"
