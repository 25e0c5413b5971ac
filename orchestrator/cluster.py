"""The Ray that trials run on: the one that is running, or a private one for the time of a search."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.errors import ClusterError
from orchestrator.resources import NodeResources


@dataclass(frozen=True)
class RayAddress:
    """Where Ray is: at `address`, or else where this process is connected to, or else a private one is started."""

    address: str | None = None
    is_connected: bool = False
    """This process is connected already (in a notebook, say)."""

    @classmethod
    def from_environment(cls) -> "RayAddress":
        """As this process is connected, else `$RAY_ADDRESS` if set, else private."""
        connected_already = "ray" in sys.modules and sys.modules["ray"].is_initialized()
        return cls(os.environ.get("RAY_ADDRESS") or None, is_connected=connected_already)

    @property
    def is_private(self) -> bool:
        """Whether a Ray of our own is to be started on this machine."""
        return self.address is None and not self.is_connected


def this_machine() -> NodeResources:
    """Cores that this process may use, GPUs that the driver's tools can see, and free memory in bytes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return NodeResources(cpus=cores, gpus=_count_gpus(), memory=psutil.virtual_memory().available)


def _count_gpus() -> int:
    """GPUs as Ray counts them, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


@contextlib.contextmanager
def connected(where: RayAddress, node: NodeResources) -> Iterator[None]:
    """Be connected to Ray: as this process is, or to the cluster at `where`, or to a private Ray.

    A private Ray offers `node`, and leaves nothing behind.

    Raises:
        ClusterError: no cluster answers at the address, or Ray does not start.
    """
    if where.is_connected:
        from orchestrator.slots.reaper import SlotReaper

        with SlotReaper():
            yield
        return
    set_environment(where)
    import ray

    from orchestrator.slots.reaper import SlotReaper

    # Short, because Unix sockets below it may have at most 107 characters.
    scratch = tempfile.mkdtemp(prefix="eqp-") if where.is_private else None
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        try:
            if where.is_private:
                _leave_out_idle_services()
                ray.init(
                    address="local",
                    num_cpus=int(node.cpus),
                    num_gpus=int(node.gpus),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=scratch,
                )
            else:
                ray.init(address=where.address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            place = f"the cluster at {where.address}" if where.address else "a local Ray"
            raise ClusterError(
                f"cannot reach {place}: {_first_line(error)}", hint=_connection_hint(where)
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own in place, which exits at once
        with SlotReaper():
            yield
    finally:
        ray.shutdown()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def nodes_of_cluster() -> list[NodeResources]:
    """What the live nodes of the connected cluster have in all."""
    import ray

    return [
        NodeResources(
            cpus=node["Resources"].get("CPU", 0),
            gpus=node["Resources"].get("GPU", 0),
            memory=int(node["Resources"].get("memory", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def set_environment(where: RayAddress) -> None:
    """Set what Ray reads from the environment when it is imported; no use once it is (in a notebook, say)."""
    if "ray" in sys.modules:
        return
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has none
    }.items():
        os.environ.setdefault(name, value)
    if where.is_private:
        # A token of this run's own: other users of the machine stay out, and nothing is written to the home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Slots ask for their processes at once. Those that Ray starts on its own account come as well, not instead.
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")


def _leave_out_idle_services() -> None:
    """Start no autoscaler, dashboard or log streamer with a private Ray: nothing asks them, and they cost a second.

    `ray.init` has no argument for it (`include_dashboard=False` starts a dashboard process all the same).
    """
    from ray._private.node import Node

    for service in ("start_monitor", "start_api_server", "start_log_monitor"):
        setattr(Node, service, lambda *arguments, **options: None)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _connection_hint(where: RayAddress) -> str:
    if where.address:
        return "check RAY_ADDRESS, and RAY_AUTH_MODE and RAY_AUTH_TOKEN if the cluster asks for a token"
    return "check free memory and space in /dev/shm and /tmp"
