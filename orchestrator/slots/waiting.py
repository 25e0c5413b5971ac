"""Says once that trials wait for room: a run that stands still must not look as if it hung."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from ray.exceptions import RayError

from orchestrator.errors import NotRecorded
from orchestrator.machines.resources import SlotPlan
from orchestrator.runs.journal import Record
from orchestrator.slots.reservations import slots_without_room

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_OF_PATIENCE = 10.0
"""A trial that moves to another machine needs so long; only then it is waiting."""


class WaitingForRoom:
    """Journals that trials have begun for which the cluster has no room: machines were lost, or others use them.

    They wait as long as it takes (machines of a spot market may be away for hours) and the others go on. Told again
    only if there has been room for all in between.
    """

    def __init__(
        self,
        plan: SlotPlan,
        begun: Callable[[], int],
        record: Record,
        without_room: Callable[[], int] = slots_without_room,
    ) -> None:
        """`begun`: how many trials there are; `without_room`: how many of them wait."""
        self._plan = plan
        self._begun = begun
        self._record = record
        self._without_room = without_room
        self._enough = time.monotonic()
        self._told = False

    def look(self) -> None:
        """Journal it once it has lasted."""
        now, waiting = time.monotonic(), self._without_room()
        if not waiting:
            self._enough, self._told = now, False
        elif not self._told and now - self._enough >= SECONDS_OF_PATIENCE:
            self._told = True
            begun = max(self._begun(), waiting)
            each = {"workers": self._plan.workers, "cpus": self._plan.cpus, "gpus": self._plan.gpus}
            self._record("waiting_for_room", trials=begun, room=begun - waiting, **each)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look every two seconds, beside what is done in the `with` block."""
        stop = threading.Event()

        def look_on() -> None:
            # What cannot be recorded or reached is told where the block comes upon it.
            with contextlib.suppress(NotRecorded, RayError, ConnectionError):
                while not stop.wait(SECONDS_BETWEEN_LOOKS):
                    self.look()

        thread = threading.Thread(target=look_on, name="waiting-for-room", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
