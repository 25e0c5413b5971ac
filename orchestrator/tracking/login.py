"""Whether an MLflow server accepts who we are, asked before a search starts and without importing MLflow."""

import base64
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.tracking.uri import without_login

_QUERY = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
_OTHER_WAYS = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH")
"""Variables with which MLflow's client logs in by means that are its own business."""


def refuses_login(uri: str, timeout: float = 3.0) -> str | None:
    """Why the server at `uri` refuses the login of this process's environment; None if it does not.

    Only a clear refusal counts (401 or 403): everything else is for MLflow's client to find out, and to wait for.
    """
    if urlsplit(uri).scheme.lower() not in ("http", "https") or _is_not_for_us():
        return None
    from urllib.error import HTTPError  # 40 ms, for servers only
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(without_login(uri) + _QUERY, headers=login_headers(uri)), timeout=timeout):  # noqa: S310 - http
            return None
    except HTTPError as error:
        return f"HTTP {error.code}" if error.code in (401, 403) else None
    except (OSError, ValueError):
        return None


def login_headers(uri: str) -> dict[str, str]:
    """How MLflow's client logs in at `uri`: as the address says, else as the environment does, else by a token."""
    login = urlsplit(uri).netloc.rpartition("@")[0]
    if not login and (user := os.environ.get("MLFLOW_TRACKING_USERNAME")):
        login = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
    if login:
        return {"Authorization": f"Basic {base64.b64encode(unquote(login).encode()).decode()}"}
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    return {}


def _is_not_for_us() -> bool:
    credentials = os.path.expanduser("~/.mlflow/credentials")  # noqa: PTH111 - Path's raises without a home
    return any(os.environ.get(name) for name in _OTHER_WAYS) or Path(credentials).exists()
