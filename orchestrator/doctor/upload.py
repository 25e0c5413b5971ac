"""The working directory, where Ray would upload it: `ray job submit --working-dir .`.

`equipoise search --address` uploads the experiment's file alone, whatever lies beside it.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.doctor.finding import Finding

_silent = logging.Logger("ray's packaging", level=logging.CRITICAL + 1)


class _TooLarge(Exception):  # noqa: N818 - what is the case
    """No need to look further."""


def submits_jobs(environment: Mapping[str, str]) -> bool:
    """Whether `ray job submit` has an address to send to."""
    address = environment.get("RAY_API_SERVER_ADDRESS") or environment.get("RAY_ADDRESS") or ""
    return address.startswith(("http://", "https://"))


def working_directory(folder: Path, limit: int | None = None, *, submitted: bool) -> Finding:
    """Whether Ray takes `folder` as the working directory of a job.

    Args:
        folder: the working directory.
        limit: bytes that Ray takes; None: Ray's own limits, of its dashboard and of what it stores.
        submitted: jobs are sent from here; else nothing breaks as long as nobody does.
    """
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    if limit is None:
        limit = min(DASHBOARD_CLIENT_MAX_SIZE, GCS_STORAGE_MAX_SIZE)
    size = _packaged(folder, limit)
    if size is not None:
        return Finding("working-directory", "ok", f"{size / 2**20:.0f} MiB would be uploaded with a job")
    return Finding(
        "working-directory",
        "problem" if submitted else "warning",
        f"{folder} is larger than the {limit >> 20} MiB that Ray takes: `ray job submit --working-dir .` fails here",
        "Name what is not needed in .rayignore (equipoise_runs, data), or use `equipoise search --address`, which "
        "uploads the experiment alone.",
    )


def _packaged(folder: Path, limit: int) -> int | None:
    """Bytes of what Ray would pack, which it does not compress; None: `limit` or more."""
    from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE, get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    size = 0

    def add(path: Path) -> None:
        nonlocal size
        size += path.stat().st_size if path.is_file() else 0
        if size >= limit:
            raise _TooLarge

    try:
        _dir_travel(
            folder,
            [_get_excludes(folder, get_runtime_env_default_excludes())],
            add,
            include_gitignore=os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1",
            logger=_silent,
        )
    except _TooLarge:
        return None
    return size
