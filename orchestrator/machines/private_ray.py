"""A Ray of our own, for the time of a run: started with what a run needs of it, and ended hard.

Nobody needs anything of it at its end, so that is quick. `ray.shutdown` asks the raylet to end, which asks its workers;
they take their Python modules apart, and whatever hangs is waited for. All of them are ours, so they are killed.
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from orchestrator.machines.resources import NodeResources

SECONDS_TO_DIE = 2.0
"""How long killed processes are waited for. A process in the middle of a system call may take its time."""


def start_private_ray(node: NodeResources, folder: Path, **shown: Any) -> None:
    """Start a Ray that offers `node` and keeps its files in `folder`, and connect this process to it.

    `shown`: arguments of `ray.init` about what it prints. `set_environment` has been called.
    """
    import ray

    _read_environment_again()
    with _without_idle_services(), _on_loopback():
        ray.init(
            address="local",
            num_cpus=int(node.cpus),
            num_gpus=int(node.gpus),
            include_dashboard=False,
            _temp_dir=str(folder),
            **shown,
        )


def end_private_ray() -> None:
    """Disconnect from the Ray that this process started, and see that none of its processes runs any more."""
    import ray
    from ray._private import worker

    node: Any = worker._global_node
    if node is not None:
        kill_all_processes = node.kill_all_processes

        def kill(**options: Any) -> None:
            # Only now, when the driver has disconnected: else it says on stderr that a node has died.
            family = _kill_all(node)
            kill_all_processes(check_alive=False, allow_graceful=False)
            _wait(family)

        node.kill_all_processes = kill
    ray.shutdown()


def kill_private_ray() -> None:
    """Kill the Ray that this process has started, if it has, and wait for nothing: for a signal's handler."""
    worker = sys.modules.get("ray._private.worker")
    if (node := getattr(worker, "_global_node", None)) is not None:
        _kill_all(node)


def _read_environment_again() -> None:
    """Have this process go by the mode and the token that the environment says now.

    Ray reads the mode when it is imported, in a notebook long before a search, and keeps the token of an earlier start;
    the processes that it starts read both anew.
    """
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _without_idle_services() -> Iterator[None]:
    """Start no autoscaler, dashboard or log streamer with a private Ray: nothing asks them, and they cost a second.

    `ray.init` has no argument for it (`include_dashboard=False` starts a dashboard process all the same).
    """
    from ray._private.node import Node

    services = ("start_monitor", "start_api_server", "start_log_monitor")
    starts = {service: getattr(Node, service) for service in services}
    try:
        for service in services:
            setattr(Node, service, lambda *arguments, **options: None)
        yield
    finally:
        for service, start in starts.items():
            setattr(Node, service, start)


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Have a private Ray listen on the loopback interface alone.

    By itself it takes the address by which the machine reaches the internet: it listens on all interfaces, complains on
    stderr where there is no network, and would not survive a change of networks. `ray.init` replaces 127.0.0.1.
    """
    from ray._private import ray_constants

    usual = ray_constants.ENABLE_RAY_CLUSTER
    try:
        ray_constants.ENABLE_RAY_CLUSTER = False  # which it is by default where Ray runs on one machine only
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = usual


def _kill_all(node: Any) -> list[psutil.Process]:
    """Kill all processes of a node that this process has started, at once, for their ends take a while."""
    family = _family_of(_pids_of(node))
    for process in family:
        with contextlib.suppress(psutil.Error):  # ended by itself
            process.kill()
    return family


def _pids_of(node: Any) -> list[int]:
    """Of the raylet and its like, those that run: an id that is free again may be a stranger's."""
    processes = [info.process for infos in node.all_processes.values() for info in infos]
    return [process.pid for process in processes if process.poll() is None]


def _family_of(pids: Iterable[int]) -> list[psutil.Process]:
    """These processes, which are stopped and start no others any more, and all that they have started."""
    family: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # ended by itself
            process = psutil.Process(pid)
            process.suspend()
            family += [process, *process.children(recursive=True)]
    return family


def _wait(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + SECONDS_TO_DIE
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.005)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
