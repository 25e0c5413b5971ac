"""An actor with a slot, as Tune's trial actor is one. As a program: a driver on a running cluster with one."""

import os
import sys
from pathlib import Path
from typing import Any

import ray

from orchestrator.slots.base import Assignment
from orchestrator.slots.reaper import SlotReaper
from orchestrator.slots.train_workers import TrainWorkersSlot
from tests.orchestrator.slots.trials import assignment


class Owner:
    """Opens a slot and begins a trial in it."""

    def open(self, trial: Assignment) -> int:
        self._slot = TrainWorkersSlot(workers=2, cpus=1)
        self._slot.start(trial)
        return os.getpid()

    def train(self) -> None:
        while True:
            self._slot.run_epoch()


def drive(address: str, data: Path, directory: Path) -> None:
    ray.init(address=address, log_to_driver=False)
    with SlotReaper():
        owner: Any = ray.remote(num_cpus=0)(Owner).remote()
        ray.get(owner.open.remote(assignment(data, directory)))
        training = owner.train.remote()
        sys.stdout.write("running\n")
        sys.stdout.flush()
        ray.get(training)


if __name__ == "__main__":
    drive(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
