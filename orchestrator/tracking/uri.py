"""Where results are tracked: one absolute URI, never one that depends on a process's working directory."""

import os
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from orchestrator.errors import TrackingError

DATABASE_NAME = "mlflow.db"
ARTIFACTS_NAME = "mlartifacts"
_REMOTE = ("http", "https", "databricks", "databricks-uc")
_DATABASES = ("postgresql", "mysql", "mssql")
_CURE = "Use a database (`mlflow: sqlite:///mlflow.db`) or a server (`mlflow: http://host:5000`)."


class Tracking(Protocol):
    """What is asked of the `tracking` section: the writer's process loads no configuration code."""

    @property
    def mlflow(self) -> str:
        """Tracking URI or `auto`."""


def resolve_tracking_uri(tracking: Tracking | str, base: Path | None = None) -> str:
    """The absolute tracking URI of an experiment.

    Args:
        tracking: the section, or its `mlflow`. `auto` means `$MLFLOW_TRACKING_URI`, else the database
            `mlflow.db` in `base`.
        base: folder that relative SQLite paths start from. Default: the working directory.

    Raises:
        TrackingError: a folder store (MLflow no longer maintains it), or a scheme MLflow does not know.
    """
    base = (base or Path.cwd()).resolve()
    uri = _named(tracking)
    scheme = urlsplit(uri).scheme.lower()
    if scheme == "sqlite":
        path = _sqlite_path(uri)
        if path is None:
            raise TrackingError(f"tracking.mlflow: {uri!r} names no database file.", _CURE)
        return sqlite_uri(base / path)
    if scheme in _REMOTE or uri == "databricks":
        return uri.rstrip("/")
    if scheme.split("+")[0] in _DATABASES:
        return uri
    if is_folder(uri):
        raise TrackingError(f"tracking.mlflow: {uri!r} is a folder, which MLflow no longer writes to.", _CURE)
    raise TrackingError(f"tracking.mlflow: MLflow knows no {scheme!r} store ({uri!r}).", _CURE)


def is_folder(tracking: Tracking | str) -> bool:
    """Whether results would go to a folder: a path, or a `file:` URI."""
    uri = _named(tracking)
    scheme = urlsplit(uri).scheme.lower()
    # "databricks" has no scheme either; a lone letter is a Windows drive.
    return uri != "databricks" and (scheme in ("", "file") or len(scheme) == 1)


def _named(tracking: Tracking | str) -> str:
    """The URI as the user wrote it."""
    uri = tracking if isinstance(tracking, str) else tracking.mlflow
    return (os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE_NAME}") if uri == "auto" else uri


def sqlite_uri(database: Path) -> str:
    """The SQLAlchemy URI of a database file, four slashes and all."""
    return f"sqlite:///{database.resolve()}"


def database_path(uri: str) -> Path | None:
    """The file behind a SQLite URI, None for every other store."""
    return _sqlite_path(uri) if uri.startswith("sqlite:") else None


def artifact_root(uri: str) -> str | None:
    """Where a local database's artifacts are kept: `mlartifacts` beside it. None: the server decides."""
    path = database_path(uri)
    return None if path is None else (path.parent / ARTIFACTS_NAME).resolve().as_uri()


def is_remote(uri: str) -> bool:
    """Whether a server of its own answers for this store."""
    return urlsplit(uri).scheme.lower() in _REMOTE or uri == "databricks"


def unreachable(uri: str, timeout: float = 3.0) -> str | None:
    """Why a server does not answer at present; None if it does, or if there is no server to ask.

    A search can go on without: the writer waits. But a mistyped address is better said before.
    """
    if urlsplit(uri).scheme.lower() not in ("http", "https"):
        return None
    from urllib.error import HTTPError, URLError  # 40 ms, for servers only
    from urllib.request import urlopen

    try:
        with urlopen(f"{without_login(uri)}/health", timeout=timeout):  # noqa: S310 - http
            return None
    except HTTPError:
        return None  # it answers; a login is MLflow's client's business
    except (URLError, OSError) as error:
        return str(getattr(error, "reason", error))


def without_login(uri: str) -> str:
    """The same address without the user and password that may stand in it."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def with_login(uri: str) -> str:
    """What to give MLflow's client for an address that was recorded without its login.

    If `$MLFLOW_TRACKING_URI` is the same address with a login, a database gets that. For a server the login goes to
    MLflow's own variables: its client prints links, which would show it.
    """
    own = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if not own or own == without_login(own) or without_login(own) != uri.rstrip("/"):
        return uri
    parts = urlsplit(own)
    if parts.scheme.lower() not in ("http", "https"):
        return own
    os.environ.setdefault("MLFLOW_TRACKING_USERNAME", unquote(parts.username or ""))
    os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(parts.password or ""))
    return uri


def experiment_link(server: str, experiment_id: str, view: str | None = None) -> str:
    """An experiment's runs, in MLflow's training mode (by default it is about agents).

    Args:
        server: its address, a path prefix included. A name and password in it stay out of the link.
        experiment_id: MLflow's id.
        view: id of the saved view to open with its charts; None for the plain list.
    """
    page = f"{without_login(server).rstrip('/')}/?workflowType=machine_learning#/experiments/{experiment_id}/runs"
    if view is None:
        return page
    # The mode is said twice: before the # for a first visit, behind it for the page's own router.
    return f"{page}?viewStateShareKey={view}&compareRunsMode=CHART&workflowType=machine_learning"


def _sqlite_path(uri: str) -> Path | None:
    path = unquote(uri.partition(":///")[2].partition("?")[0])
    return None if path in ("", ":memory:") else Path(path)
