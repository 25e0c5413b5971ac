"""Says once that trials wait for machines: a search that stands still must not look as if it hung."""

import time
from collections.abc import Callable

from orchestrator.launch.newcomers import Record
from orchestrator.machines.resources import SlotPlan
from orchestrator.tuning.periodic import Periodic

SECONDS_OF_PATIENCE = 10.0
"""A trial that moves to another machine needs so long; only then it is waiting."""


class WaitingForMachines(Periodic):
    """Journals that fewer trials have room on the machines that are there than have begun.

    They wait as long as it takes (machines of a spot market may be away for hours) and the others go on. Told again
    only if there has been room for all in between.
    """

    def __init__(
        self, plan: SlotPlan, room: Callable[[], int], begun: Callable[[], int], record: Record
    ) -> None:
        """`room`: for how many trials there is room now; `begun`: how many there should be room for."""
        super().__init__()
        self._plan = plan
        self._room = room
        self._begun = begun
        self._record = record
        self._enough = time.monotonic()
        self._told = False

    def look(self) -> None:
        """Journal it once it has lasted."""
        now, room, begun = time.monotonic(), self._room(), self._begun()
        if room >= begun:
            self._enough, self._told = now, False
        elif not self._told and now - self._enough >= SECONDS_OF_PATIENCE:
            self._told = True
            each = {"workers": self._plan.workers, "cpus": self._plan.cpus, "gpus": self._plan.gpus}
            self._record("waiting_for_machines", trials=begun, room=room, **each)
