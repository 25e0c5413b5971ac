"""The end of a private Ray: hard, because nobody needs anything of it any more, and therefore quick.

`ray.shutdown` asks the raylet to end, which asks its workers; they take their Python modules apart, and whatever hangs
is waited for. All of them are ours, so they are killed.
"""

import contextlib
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
            family = _family_of(_pids_of(node))
            for process in family:  # all at once: their ends take a while
                with contextlib.suppress(psutil.Error):  # ended by itself
                    process.kill()
            kill_all_processes(check_alive=False, allow_graceful=False)
            _wait(family)

        node.kill_all_processes = kill
    ray.shutdown()


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
