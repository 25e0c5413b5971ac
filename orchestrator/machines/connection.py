"""The Ray that trials run on: the one that is running, or a private one for the time of a search."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.errors import ClusterError
from orchestrator.launch.autoscaling import nodes_that_may_come
from orchestrator.machines.limits import core_limit, memory_left
from orchestrator.machines.private_ray import end_private_ray, start_private_ray
from orchestrator.machines.resources import NodeResources
from orchestrator.machines.scratch import ScratchFolder

AUTH_MODE = "RAY_AUTH_MODE"
"""The variable by which Ray asks for a token (`token`) or not (`disabled`)."""


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
    """Cores that this process may use, GPUs that the driver's tools can see, and free memory in bytes.

    In a container, what its limits leave of them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if (limit := core_limit()) is not None:
        cores = max(1, min(cores, int(limit)))
    free = psutil.virtual_memory().available
    left = memory_left()
    return NodeResources(cpus=cores, gpus=_count_gpus(), memory=free if left is None else min(free, left))


def _count_gpus() -> int:
    """GPUs as Ray counts them, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


@contextlib.contextmanager
def connected(where: RayAddress, node: NodeResources, *, verbose: bool = False) -> Iterator[None]:
    """Be connected to Ray: as this process is, or to the cluster at `where`, or to a private Ray.

    A private Ray offers `node`, and leaves nothing behind.

    Raises:
        ClusterError: no cluster answers at the address, or Ray does not start.
    """
    from orchestrator.slots.reaper import SlotReaper

    with (
        contextlib.nullcontext() if where.is_connected else _started(where, node, verbose=verbose),
        SlotReaper(),
    ):
        yield


@contextlib.contextmanager
def _started(where: RayAddress, node: NodeResources, *, verbose: bool) -> Iterator[None]:
    if (where.address or "").startswith("ray://"):
        raise ClusterError(
            f"RAY_ADDRESS={where.address}: a Ray Client cannot conduct a search",
            "Use the address of the cluster itself (host:6379), or run there: ray job submit.",
        )
    require_answer(where)
    set_environment(where)
    import ray

    scratch = ScratchFolder() if where.is_private else None
    on_sigterm = signal.getsignal(signal.SIGTERM)
    shown = {"log_to_driver": verbose, "logging_level": logging.INFO if verbose else logging.ERROR}
    try:
        try:
            with contextlib.nullcontext() if verbose else _without_reports_of_deaths():
                if scratch is not None:
                    start_private_ray(node, scratch.path, **shown)
                else:
                    ray.init(address=where.address, **shown)
        except SystemExit:  # by Ray's handler of SIGTERM, which it puts in place of ours
            raise KeyboardInterrupt from None
        except Exception as error:  # Ray raises anything, bare exceptions among them
            place = f"the cluster at {where.address}" if where.address else "a local Ray"
            raise ClusterError(
                f"cannot reach {place}: {_first_line(error)}", hint=_connection_hint(where)
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_sigterm)
        yield
    finally:
        if where.is_private:
            end_private_ray()
        else:
            ray.shutdown()
        if scratch is not None:
            scratch.remove()


def require_answer(where: RayAddress) -> None:
    """See that something listens at an address before Ray does: it tries for minutes."""
    host, _, port = (where.address or "").rpartition(":")
    if not host or not port.isdigit():
        return  # private, or `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise ClusterError(
            f"cannot reach the cluster at {where.address}: {error.strerror or error}", _connection_hint(where)
        ) from error


def nodes_of_cluster(*, without: Container[str] = ()) -> list[NodeResources]:
    """What the nodes of the connected cluster have in all: the live ones, and those that its autoscaler may add.

    `without`: ids of nodes that do not count.
    """
    return nodes_there(without=without) + nodes_that_may_come(nodes_there())


def nodes_there(*, without: Container[str] = ()) -> list[NodeResources]:
    """What the live nodes of the connected cluster have in all, but for those with the ids `without`."""
    import ray

    return [
        NodeResources(
            cpus=node["Resources"].get("CPU", 0),
            gpus=node["Resources"].get("GPU", 0),
            memory=int(node["Resources"].get("memory", 0)),
        )
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in without
    ]


def set_environment(where: RayAddress) -> None:
    """Set what Ray and its processes read from the environment. What is set already, by the user, stays."""
    if where.is_connected:
        return
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        os.environ.setdefault(name, value)
    if where.is_private:
        # A token of this run's own: other users of the machine stay out, and nothing is written to the home folder.
        for name, value in {AUTH_MODE: "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            os.environ[name] = os.environ.get(name) or value
        # Slots ask for their processes at once. Those that Ray starts on its own account come as well, not instead.
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")
        # Nobody asks a private Ray what its tasks were; while it reports them, its end more often takes 0.25 s longer.
        os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
        # How long a worker may take to end before it is killed. By Ray's 5 s, what hangs keeps its cores for so long.
        os.environ.setdefault("RAY_kill_worker_timeout_milliseconds", "500")


@contextlib.contextmanager
def _without_reports_of_deaths() -> Iterator[None]:
    """Start no listener for what befalls nodes and processes elsewhere.

    It prints on stdout, whatever `log_to_driver` says: fifty lines of a dead raylet's log. What it means for trials is
    told by whoever shows the run.
    """
    from ray._private import worker

    listen = worker.listen_error_messages
    try:
        worker.listen_error_messages = lambda *arguments: None
        yield
    finally:
        worker.listen_error_messages = listen


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _connection_hint(where: RayAddress) -> str:
    if where.address:
        return "check RAY_ADDRESS, and RAY_AUTH_MODE and RAY_AUTH_TOKEN if the cluster asks for a token"
    return "check free memory and space in /dev/shm and /tmp"
