"""The end of a private Ray: hard, because nobody needs anything of it any more, and therefore quick.

`ray.shutdown` asks the raylet to end, which asks its workers; they take their Python modules apart, and whatever hangs
is waited for. All of them are ours, so they are killed.
"""

import time
from collections.abc import Iterable
from typing import Any

import psutil

SECONDS_TO_DIE = 2.0
"""How long killed processes are waited for. A process in the middle of a system call may take its time."""


def end_private_ray() -> None:
    """Disconnect from the Ray that this process started, and see that none of its processes runs any more."""
    import ray
    from ray._private import worker

    node: Any = worker._global_node
    if node is not None:
        kill_all_processes = node.kill_all_processes

        def kill(**options: Any) -> None:
            # Only now, when the driver has disconnected: else it says on stderr that a node has died.
            workers = _children_of(process.pid for process in _processes_of(node))
            kill_all_processes(check_alive=False, allow_graceful=False)
            _kill(workers)

        node.kill_all_processes = kill
    ray.shutdown()


def _processes_of(node: Any) -> list[Any]:
    return [info.process for infos in node.all_processes.values() for info in infos]


def _children_of(pids: Iterable[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in pids:
        try:
            found += psutil.Process(pid).children(recursive=True)
        except psutil.Error:  # ended by itself
            continue
    return found


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue
    deadline = time.monotonic() + SECONDS_TO_DIE
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
