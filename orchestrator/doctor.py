"""What would break a run on this machine, and what earlier ones have left behind (`equipoise doctor`)."""

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from orchestrator.cluster import RayAddress
from orchestrator.errors import EquipoiseError
from orchestrator.journal import FILE_NAME, Journal
from orchestrator.lease import Conducted, hold_lease, is_held
from orchestrator.replay import History, read_history
from orchestrator.run_folder import RunFolder, outcome
from orchestrator.tracking.state import read_state
from orchestrator.tracking.uri import resolve_tracking_uri, unreachable
from orchestrator.trial_log import TrialLog

LEAST_SHARED_MEMORY = 256 * 2**20
"""Bytes that Ray's object store wants in /dev/shm; of less, it goes to the disk."""
LEAST_DISK = 2**30
"""Bytes: checkpoints of a few large models."""
SECONDS_TO_TELL = 120.0


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, with what to do."""

    code: str
    """Stable, for programs: `missing-package`, `shared-memory`, `disk`, `ray`, `mlflow`, `abandoned-run`, …"""
    problem: str
    cure: str
    breaks_runs: bool = True
    """Whether a run would fail or lose something; else it is only untidy."""
    is_mended: bool = False


def examine(storage: Path, tracking: str = "auto", *, fix: bool = False) -> list[Finding]:
    """Look at packages, shared memory, disk, Ray, MLflow, and the runs in `storage`.

    Args:
        storage: folder of all runs.
        tracking: MLflow's URI, as in an experiment file.
        fix: close what died without a word: in its journal and so in MLflow, and runs of MLflow that nobody conducts.
    """
    uri = resolve_tracking_uri(tracking, Path.cwd())
    found = [*_packages(), *_shared_memory(), *_disk(storage), *_ray()]
    found += _abandoned(storage, fix=fix)
    if (reason := unreachable(uri)) is not None:
        cure = "Start the server, or correct tracking.mlflow or MLFLOW_TRACKING_URI."
        return [*found, Finding("mlflow", f"no MLflow server answers at {uri}: {reason}", cure)]
    return [*found, *_orphans(uri, storage, fix=fix)]


def report(findings: list[Finding]) -> dict[str, Any]:
    """The stable machine interface of `doctor --json`."""
    return {"event": "doctor_finished", "findings": [asdict(finding) for finding in findings]}


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in requires("equipoise") or ()]
    except PackageNotFoundError:
        return  # run from a clone
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        cure = f'pip install "{requirement}"'
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield Finding("missing-package", f"{requirement.name} is not installed", cure)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            yield Finding("wrong-version", f"{requirement.name} {installed} is installed", cure)


def _shared_memory() -> Iterator[Finding]:
    place = Path("/dev/shm")  # noqa: S108 - Ray's own place
    if place.is_dir() and (free := shutil.disk_usage(place).free) < LEAST_SHARED_MEMORY:
        yield Finding(
            "shared-memory",
            f"{place} has {free // 2**20} MB free, Ray wants {LEAST_SHARED_MEMORY // 2**20}",
            "In Docker: docker run --shm-size=1g. Ray works without, more slowly.",
            breaks_runs=False,
        )


def _disk(storage: Path) -> Iterator[Finding]:
    place = storage.absolute()
    while not place.exists():
        place = place.parent
    if (free := shutil.disk_usage(place).free) < LEAST_DISK:
        yield Finding(
            "disk",
            f"{place} has {free // 2**20} MB free",
            "Free some space, or set tracking.storage to another disk.",
        )


def _ray() -> Iterator[Finding]:
    address = RayAddress.from_environment().address or ""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        yield Finding(
            "ray",
            f"no Ray cluster answers at RAY_ADDRESS={address}: {error.strerror or error}",
            "Start it, or unset RAY_ADDRESS: then a private Ray is started for every run.",
        )


def _abandoned(storage: Path, *, fix: bool) -> Iterator[Finding]:
    """Runs whose process died without a word."""
    for directory in sorted(path.parent for path in storage.absolute().glob(f"*/{FILE_NAME}")):
        try:
            history = read_history(directory)
        except EquipoiseError as error:
            if (directory / FILE_NAME).stat().st_size:
                yield Finding("damaged-journal", error.message, error.hint)
            continue
        if history.events[-1]["event"] == "search_ended" or is_held(directory):
            continue
        mended = fix and _close(history)
        yield Finding(
            "abandoned-run",
            f"{directory.name} ended without a word: its process was killed",
            f"equipoise resume {directory.name}"
            + ("" if mended else ", or equipoise doctor --fix to close it"),
            breaks_runs=False,
            is_mended=mended,
        )


def _close(history: History) -> bool:
    """Journal the end that the run could not, and tell MLflow. Whether it could be done; a resume is still possible."""
    directory = history.directory
    with contextlib.suppress(Conducted), hold_lease(directory), Journal(directory) as journal:
        run = RunFolder(directory, journal, [])
        with TrialLog(run) as log:
            for event in history.events:
                log.hear(event)
            log.settle({})
        run.record("search_ended", status="interrupted", seconds=history.seconds, **outcome(directory))
        with contextlib.suppress(subprocess.TimeoutExpired):
            command = [sys.executable, "-m", "orchestrator.tracking.writer", str(directory)]
            subprocess.run(command, capture_output=True, timeout=SECONDS_TO_TELL)  # noqa: S603 - our own module
        return read_state(directory).offset >= (directory / FILE_NAME).stat().st_size
    return False


def _orphans(uri: str, storage: Path, *, fix: bool) -> Iterator[Finding]:
    from orchestrator.tracking.orphans import close_orphan, find_orphans
    from orchestrator.tracking.runs import uid_of
    from orchestrator.tracking.uri import database_path

    database = database_path(uri)
    if database is not None and not database.exists():
        return  # nothing was ever tracked here
    alive = set()
    for path in storage.absolute().glob(f"*/{FILE_NAME}"):
        with contextlib.suppress(EquipoiseError):
            if is_held(path.parent):
                alive.add(uid_of(read_history(path.parent).started))
    for orphan in find_orphans(uri, alive):
        if fix:
            close_orphan(uri, orphan)
        yield Finding(
            "orphaned-mlflow-run",
            f"MLflow's run {orphan.name} ({orphan.run_id}) is to be closed: {orphan.reason}",
            "" if fix else "equipoise doctor --fix",
            breaks_runs=False,
            is_mended=fix,
        )
