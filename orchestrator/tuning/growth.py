"""More trials at a time when nodes join."""

import time
from collections.abc import Callable
from typing import Any

from ray import tune

from orchestrator.errors import ClusterError
from orchestrator.tuning.schedulers import QueueScheduler
from orchestrator.tuning.tune_searcher import TuneSearcher

SECONDS_BETWEEN_LOOKS = 2.0


class SlotGrowth(tune.Callback):  # type: ignore[misc] # Ray is untyped
    """Adds slots to a running search.

    None is taken away when a node dies: its trials wait for another node or a free slot, and go on there.
    """

    def __init__(
        self, proposals: TuneSearcher, scheduler: QueueScheduler, count_slots: Callable[[], int]
    ) -> None:
        """Ask `count_slots` now and then how many fit on what is there."""
        self._proposals = proposals
        self._scheduler = scheduler
        self._count_slots = count_slots
        self._looked = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look, if it is time."""
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        try:
            slots = self._count_slots()
        except ClusterError:  # nothing fits at present
            return
        if slots > self._proposals.slots:
            self._proposals.slots = slots
            if self._scheduler.controller is not None:
                self._scheduler.controller.update_max_pending_trials(slots)
