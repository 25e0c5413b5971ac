"""Whether an MLflow server accepts who we are, asked before a search starts and without importing MLflow."""

import base64
import os
from pathlib import Path
from urllib.parse import urlsplit

_QUERY = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
_OTHER_WAYS = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH")
"""Variables with which MLflow's client logs in by means that are its own business."""


def refuses_login(uri: str, timeout: float = 3.0) -> str | None:
    """Why the server at `uri` refuses the login of this process's environment; None if it does not.

    Only a clear refusal counts (401 or 403): everything else is for MLflow's client to find out, and to wait for.
    """
    parts = urlsplit(uri)
    if parts.scheme.lower() not in ("http", "https") or "@" in parts.netloc or _is_not_for_us():
        return None
    from urllib.error import HTTPError  # 40 ms, for servers only
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(uri + _QUERY, headers=_headers()), timeout=timeout):  # noqa: S310 - http
            return None
    except HTTPError as error:
        return f"HTTP {error.code}" if error.code in (401, 403) else None
    except (OSError, ValueError):
        return None


def _is_not_for_us() -> bool:
    credentials = os.path.expanduser("~/.mlflow/credentials")  # noqa: PTH111 - Path's raises without a home
    return any(os.environ.get(name) for name in _OTHER_WAYS) or Path(credentials).exists()


def _headers() -> dict[str, str]:
    """As MLflow's client sends them: a login, else a token."""
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    return {}
