"""When a run was asked for, and whether its results can be kept: found out before anything is started."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import EquipoiseError, TrackingError
from orchestrator.resuming.replay import History
from orchestrator.runs.clock import Clock
from orchestrator.spec import ExperimentSpec
from orchestrator.tracking.login import refuses_login
from orchestrator.tracking.uri import (
    database_path,
    resolve_tracking_uri,
    unreachable,
    with_login,
    without_login,
)


@dataclass(frozen=True)
class RunStart:
    """When a run was asked for, and where its results go."""

    clock: Clock
    """That of all times of this run, or of its present life."""
    time: float
    """By this clock, seconds since 1970."""
    tracking_uri: str

    @classmethod
    def now(cls, spec: ExperimentSpec, earlier: History | None = None) -> Self:
        """Take the time, and see that results can be kept: a run survives a server that goes away, but not a typo.

        Raises:
            TrackingError: the tracking store cannot be used as configured, its server does not answer, or it refuses
                the login.
            EquipoiseError: the folder of results cannot be written.
        """
        clock = Clock()
        began = clock.now()
        storage = earlier.directory if earlier else Path(spec.tracking.storage).absolute()
        _require_writable(storage, "tracking.storage", EquipoiseError)
        uri = with_login(earlier.started["tracking_uri"]) if earlier else resolve_tracking_uri(spec.tracking)
        if (database := database_path(uri)) is not None:
            _require_writable(database.parent, "tracking.mlflow", TrackingError)
        if earlier is None and (reason := unreachable(uri)) is not None:
            raise TrackingError(
                f"no MLflow server answers at {without_login(uri)}: {reason}",
                "Start it, or correct tracking.mlflow or MLFLOW_TRACKING_URI.",
            )
        if (reason := refuses_login(uri)) is not None:
            raise TrackingError(
                f"the MLflow server at {without_login(uri)} refuses the login: {reason}",
                "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
            )
        return cls(clock, began, uri)


def _require_writable(folder: Path, key: str, kind: type[EquipoiseError]) -> None:
    """Refuse a folder that cannot be written, or made, before anything is started."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise kind(
            f"{key}: {folder} cannot be written",
            f"Set {key} to a place you may write to, or change its rights.",
        )
