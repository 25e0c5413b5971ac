"""What a run talks to: Ray where one is named, and MLflow."""

import os
import sqlite3
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from orchestrator.doctor.finding import Finding
from orchestrator.errors import ClusterError, TrackingError
from orchestrator.machines.connection import AUTH_MODE, RayAddress, require_answer
from orchestrator.tracking.login import login_headers
from orchestrator.tracking.uri import (
    Tracking,
    database_path,
    is_folder,
    is_remote,
    resolve_tracking_uri,
    without_login,
)

PATIENCE = 3.0
"""Seconds that a server has to answer."""
LARGEST_SKEW = 30.0
"""Seconds between this clock and a server's: above, times in MLflow mislead."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DASHBOARD_PORT = 8265


def ray() -> Iterator[Finding]:
    """The Ray that a run would use."""
    where = RayAddress.from_environment()
    if where.is_private:
        yield _private_ray()
        return
    try:
        require_answer(where)
    except ClusterError as error:
        yield Finding("ray", "problem", error.message, error.hint)
        return
    yield Finding(
        "ray", "ok", f"a cluster listens at {where.address or 'the address this process is connected to'}"
    )
    mode = os.environ.get(AUTH_MODE, "")
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if mode == "token" and not os.environ.get("RAY_AUTH_TOKEN") and not token.exists():
        yield Finding(
            "ray-token",
            "problem",
            "RAY_AUTH_MODE is token, and there is no token",
            f"Set RAY_AUTH_TOKEN, or write the cluster's token to {token}.",
        )


def _private_ray() -> Finding:
    mode = os.environ.get(AUTH_MODE) or "token"
    if mode.lower() == "token":
        return Finding(
            "ray", "ok", "a private Ray with a token of its own would be started; RAY_ADDRESS is not set"
        )
    return Finding(
        "ray-token",
        "warning",
        f"{AUTH_MODE} is {mode}: users of this machine may run code in a run's private Ray",
        f"Unset {AUTH_MODE}: each run then has a token of its own.",
    )


def dashboard_by_default(where: RayAddress) -> str | None:
    """Where the dashboard of a cluster is if nobody said otherwise, as `host:port`."""
    host = (where.address or "").rpartition("://")[2].rpartition(":")[0]
    return f"{host}:{DASHBOARD_PORT}" if host else None


def dashboard(place: str) -> Finding:
    """Whether a stranger could run commands through the cluster's dashboard at `place` (`host:port`)."""
    host = place.rpartition(":")[0].strip("[]")
    status = 200
    try:
        with urlopen(f"http://{place}/api/version", timeout=PATIENCE):
            pass
    except HTTPError as error:
        status = error.code
    except (URLError, OSError, HTTPException):
        return Finding("ray-dashboard", "ok", f"no dashboard answers at {place}")
    if status >= 400 and status not in (401, 403):
        return Finding(
            "ray-dashboard",
            "warning",
            f"what listens at {place} answers {status}: whether it asks for a token is not known",
            "See that Ray's dashboard runs there with RAY_AUTH_MODE=token, or that nothing else hides it.",
        )
    if status >= 400:
        return Finding("ray-dashboard", "ok", f"the dashboard at {place} asks for a token")
    if host in LOOPBACK:
        return Finding(
            "ray-dashboard",
            "warning",
            f"the dashboard at {place} asks for no token: users of this machine may run jobs",
            "Start Ray with RAY_AUTH_MODE=token.",
        )
    return Finding(
        "ray-dashboard",
        "problem",
        f"the dashboard at {place} asks for no token: whoever reaches it runs commands there",
        "Start Ray with --dashboard-host=127.0.0.1 and RAY_AUTH_MODE=token.",
    )


def mlflow(tracking: Tracking | str, *, several_nodes: bool) -> Iterator[Finding]:
    """Where results go: reachable, allowed, and usable from every node."""
    try:
        uri = resolve_tracking_uri(tracking)
    except TrackingError as error:
        yield Finding(
            "tracking-file" if is_folder(tracking) else "mlflow", "problem", error.message, error.hint
        )
        return
    if (path := database_path(uri)) is not None:
        if several_nodes:
            yield Finding(
                "mlflow-sqlite",
                "problem",
                f"{path} is a file of one machine, and the cluster has several nodes",
                "Start a server (mlflow server), and set MLFLOW_TRACKING_URI to it.",
            )
        yield _database(path)
    elif is_remote(uri) and uri.startswith("http"):
        yield from _server(uri)
    else:
        yield Finding("mlflow", "ok", f"results go to a {urlsplit(uri).scheme} store, which was not asked")


def _database(path: Path) -> Finding:
    if not path.exists():
        return Finding("mlflow", "ok", f"{path} will be made")
    try:
        with sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=PATIENCE) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.Error as error:
        return Finding(
            "mlflow",
            "problem",
            f"{path} cannot be written: {error}",
            "End the process that holds it, or name another database with tracking.mlflow.",
        )
    return Finding("mlflow", "ok", f"results go to {path}")


def _server(uri: str) -> Iterator[Finding]:
    """Alive, whether it lets us in, and how its clock stands."""
    sent = time.time()
    try:
        status, headers = _get(uri, "/api/2.0/mlflow/experiments/search?max_results=1")
    except (URLError, OSError) as error:
        yield Finding(
            "mlflow",
            "problem",
            f"no server answers at {without_login(uri)}: {getattr(error, 'reason', error)}",
            "Start it, or correct MLFLOW_TRACKING_URI.",
        )
        return
    if status in (401, 403):
        yield Finding(
            "mlflow-login",
            "problem",
            f"the server at {without_login(uri)} does not let us in ({status})",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
        )
    elif status >= 400:
        yield Finding(
            "mlflow",
            "problem",
            f"{without_login(uri)} answers {status}: this is no MLflow server, or it is ill",
            "Correct MLFLOW_TRACKING_URI; a path before the API belongs to it.",
        )
    else:
        yield Finding("mlflow", "ok", f"a server answers at {without_login(uri)}")
    if (date := headers.get("Date")) is not None:
        skew = parsedate_to_datetime(date).timestamp() - (sent + time.time()) / 2
        if abs(skew) > LARGEST_SKEW:
            yield Finding(
                "clock",
                "warning",
                f"the server's clock is {skew:+.0f} s from this one",
                "Set both by NTP: times in MLflow are those of this machine.",
            )
        else:
            yield Finding("clock", "ok", "this clock and the server's agree")


def _get(uri: str, path: str) -> tuple[int, Any]:
    request = Request(f"{without_login(uri).rstrip('/')}{path}", headers=login_headers(uri))  # noqa: S310 - http
    try:
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - http
            return answer.status, answer.headers
    except HTTPError as error:
        return error.code, error.headers
