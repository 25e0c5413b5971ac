"""Workers of a trial that share a machine keep to cores of their own.

It matters to those that exchange something every few milliseconds. Linux likes to wake the thread that receives on the
core of who has sent, and who goes on computing there makes it wait for the end of a time slice, though the receiver's
own core is idle.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path


def keep_to_own_cores(rank: int, ranks: int, cpus: int) -> None:
    """Have this process run on the `rank`-th of `ranks` equal parts of the cores that it may use.

    A part, not `cpus` cores: who else runs on the machine is not known, so Linux is left a choice. Nothing changes for
    a process alone, or if a part had fewer than `cpus` cores.
    """
    cores = sorted(os.sched_getaffinity(0), key=_place)
    if ranks < 2 or len(cores) // ranks < cpus:
        return
    part = part_of(cores, rank, ranks)
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), part)


def part_of(cores: Sequence[int], rank: int, ranks: int) -> Sequence[int]:
    """The `rank`-th of `ranks` contiguous parts, whose lengths differ by one at most."""
    return cores[rank * len(cores) // ranks : (rank + 1) * len(cores) // ranks]


def _place(core: int) -> tuple[int, int, int]:
    """Neighbours share a socket, and hyperthreads of a physical core are neighbours."""
    topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        socket, physical = (int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):  # a container that hides it
        return 0, core, core
    return socket, physical, core
