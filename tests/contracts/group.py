"""A persistent group of gloo processes for contracts about N workers.

Starting a process that imports torch takes seconds, so one group serves all contracts of a session. A job is
a function that can be imported by name; it gets a `World` of the size that is asked for (the first processes
of the group, each size a process group of its own), and its results come back in rank order.
"""

import importlib
import multiprocessing
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from trainables.training.world import World

PATIENCE = 60.0
"""Seconds that a job may take."""
GRACE = 3.0
"""Seconds that the other processes get after one has failed; they may wait for it in a collective."""


def serve(rank: int, meeting_point: Path, pipe: Connection) -> None:
    """What a process of the group does until its pipe closes."""
    torch.set_num_threads(1)
    current = 0
    try:
        while True:
            generation, workers, shares, module, name, arguments = pipe.recv()
            try:
                if current != generation:
                    if distributed.is_initialized():
                        distributed.destroy_process_group()
                    distributed.init_process_group(
                        "gloo",
                        init_method=f"file://{meeting_point}.{generation}",
                        rank=rank,
                        world_size=workers,
                        timeout=timedelta(seconds=PATIENCE),
                    )
                    current = generation
                function = getattr(importlib.import_module(module), name)
                pipe.send((True, function(World.distributed("cpu", shares), *arguments)))
            except Exception:  # told to the test, which raises
                pipe.send((False, traceback.format_exc()))
    except (EOFError, KeyboardInterrupt):
        return


class Group:
    """`size` processes; a job may use fewer. After a failure they are started anew."""

    def __init__(self, size: int, folder: Path) -> None:
        self._size = size
        self._folder = folder
        self._workers = 0
        self._generation = 0
        self._pipes: list[Connection] = []
        self._processes: list[SpawnProcess] = []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for rank in range(self._size):
            ours, theirs = context.Pipe()
            meeting_point = self._folder / "meet"
            process = context.Process(target=serve, args=(rank, meeting_point, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(
        self, workers: int, function: Callable[..., Any], *arguments: Any, shares: list[float] | None = None
    ) -> list[Any]:
        """`function(world, *arguments)` on each of `workers` processes: their results in rank order."""
        if not self._processes:
            self._start()
        if workers != self._workers:
            self._workers = workers
            self._generation += 1
        job = (self._generation, workers, shares, function.__module__, function.__name__, arguments)
        waiting = dict(zip(self._pipes[:workers], range(workers), strict=True))
        for pipe in waiting:
            pipe.send(job)
        answers: dict[int, Any] = {}
        failures: dict[int, str] = {}
        while waiting:
            ready = wait(list(waiting), GRACE if failures else PATIENCE)
            if not ready:
                failures |= dict.fromkeys(waiting.values(), "no answer")
                break
            for pipe in [pipe for pipe in waiting if pipe in ready]:
                rank = waiting.pop(pipe)
                try:
                    fine, answer = pipe.recv()
                except EOFError:
                    fine, answer = False, "ended"
                (answers if fine else failures)[rank] = answer
        if failures:
            self.close()
            told = "\n".join(f"worker {rank} of {workers}: {said}" for rank, said in sorted(failures.items()))
            raise AssertionError(told)
        return [answers[rank] for rank in range(workers)]

    def close(self) -> None:
        """End the processes and wait for them."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(1)
            if process.is_alive():
                process.kill()
                process.join()
        self._pipes.clear()
        self._processes.clear()
        self._workers = 0
