"""MLflow's UI on this project's results: a server of its own for a database, a link where one runs."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from types import FrameType
from typing import IO
from urllib.error import URLError
from urllib.request import Request, urlopen

from rich.console import Console

from orchestrator.errors import TrackingError
from orchestrator.tracking.uri import artifact_root, database_path, experiment_link, is_remote
from orchestrator.tracking.views import latest_trade_offs

START_SECONDS, STOP_SECONDS = 90.0, 5.0
MOST_LINKS = 5


def run_ui(tracking_uri: str, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Serve the UI until Ctrl-C and print where it is; for a remote store only print that.

    Args:
        tracking_uri: what `resolve_tracking_uri` returned.
        host: address to listen on. Anything but loopback lets others read and write the results.
        port: port to listen on.

    Raises:
        TrackingError: the port is taken, there is no database yet, or MLflow's server does not start.
    """
    console = Console()
    if is_remote(tracking_uri):
        _print_links(console, tracking_uri)
        return
    database = database_path(tracking_uri)
    if database is not None and not database.exists():
        raise TrackingError(
            f"There are no results yet: {database} does not exist.",
            "Run `equipoise search` first, or name another store with --tracking-uri.",
        )
    _require_free(host, port)
    with (
        tempfile.TemporaryFile() as log,
        _signals_interrupt(),
        _server(tracking_uri, host, port, log) as server,
    ):
        address = f"http://{host}:{port}"
        try:
            with console.status("Starting MLflow …"):
                _wait_until_up(server, address, log)
            _print_links(console, address)
            console.print("Press Ctrl-C to end.", style="dim")
            server.wait()
        except KeyboardInterrupt:
            console.print()
        else:
            raise TrackingError(f"MLflow's server ended by itself: {_last_line(log)}")


@contextlib.contextmanager
def _server(tracking_uri: str, host: str, port: int, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mlflow server` in a process group of its own, all of which is gone when the context is left."""
    command = [sys.executable, "-m", "mlflow", "server"]
    # More than one worker adds 44 ms to every answer: their shared socket lacks TCP_NODELAY.
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    root = artifact_root(tracking_uri)
    if root is not None:
        command += ["--default-artifact-root", root, "--artifacts-destination", root]
    # Job execution is for agents and starts eight more processes.
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,  # it may hold a password: arguments are public
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    server = subprocess.Popen(  # noqa: S603 - our own arguments
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield server
    finally:
        _signal_group(server, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
        _signal_group(server, signal.SIGKILL)
        server.wait()


def _signal_group(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, number)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let a closed terminal and `kill` end the server as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    former = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TrackingError(
                f"Port {port} of {host} cannot be used: {error.strerror}.",
                f"Choose another one, for example `equipoise ui --port {port + 1}`.",
            ) from error


def _wait_until_up(server: subprocess.Popen[bytes], address: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TrackingError(f"MLflow's server did not start: {_last_line(log)}")
        with contextlib.suppress(URLError, OSError), urlopen(f"{address}/health", timeout=2):  # noqa: S310 - http
            return
        time.sleep(0.1)
    raise TrackingError(f"MLflow's server did not answer within {START_SECONDS:.0f} s: {_last_line(log)}")


def _print_links(console: Console, address: str) -> None:
    """The latest experiments, each with the link to its runs."""
    experiments = _experiments(address)[:MOST_LINKS]
    if not experiments:
        console.print(f"MLflow: {address}", soft_wrap=True, highlight=False)
    for name, identifier, view in experiments:
        link = experiment_link(address, identifier, view)
        console.print(f"{name}: {link}", soft_wrap=True, highlight=False, markup=False)


def _experiments(address: str) -> list[tuple[str, str, str | None]]:
    """Names, ids and views, newest first, without MLflow's own empty default; none if the server does not say."""
    query = json.dumps({"max_results": 100, "order_by": ["creation_time DESC"]}).encode()
    request = Request(  # noqa: S310 - http
        f"{address}/api/2.0/mlflow/experiments/search",
        query,
        {"Content-Type": "application/json", **_authorization()},
    )
    try:
        with urlopen(request, timeout=10) as response:  # noqa: S310
            found = json.load(response).get("experiments", [])
    except (URLError, OSError, ValueError):
        return []
    tags = {
        item["experiment_id"]: {tag["key"]: tag["value"] for tag in item.get("tags", [])} for item in found
    }
    return [
        (item["name"], number, latest_trade_offs(tags[number]))
        for item in found
        if (number := item["experiment_id"]) != "0"
    ]


def _authorization() -> dict[str, str]:
    """The header for a server that asks who one is, from the variables that MLflow's client reads."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    name, password = (os.environ.get(f"MLFLOW_TRACKING_{part}") for part in ("USERNAME", "PASSWORD"))
    if name is None or password is None:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode('ascii')}"}


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
