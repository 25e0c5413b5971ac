"""The port that `equipoise ui` takes unless it is told another."""

import errno
import socket
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import urlopen

from orchestrator.doctor.finding import Finding

UI_PORT = 5000
PATIENCE = 2.0
"""Seconds that whoever listens there has to answer."""


def ports(port: int = UI_PORT) -> Finding:
    """Whether `port` is free, or MLflow has it already."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:  # what a port needs besides is looked at by `machine.sockets`
            return Finding("ports", "ok", f"port {port} was not looked at: {error.strerror or error}")
    else:
        return Finding("ports", "ok", f"port {port} is free for equipoise ui")
    if _is_mlflow(port):
        return Finding("ports", "ok", f"MLflow's UI listens on port {port}")
    return Finding(
        "ports",
        "warning",
        f"port {port}, which equipoise ui takes, belongs to something else",
        f"equipoise ui --port {port + 1}, or end what listens there.",
    )


def _is_mlflow(port: int) -> bool:
    """MLflow says its version and nothing else at /version."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/version", timeout=PATIENCE) as answer:
            said = str(answer.read(100), "utf-8")
    except (URLError, OSError, HTTPException, UnicodeDecodeError):
        return False
    return said.replace(".", "").isalnum() and said[:1].isdigit()
