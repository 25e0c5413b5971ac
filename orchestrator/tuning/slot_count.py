"""As many trials at a time as nodes that come and go have room for."""

from collections.abc import Callable

from orchestrator.tuning.schedulers import QueueScheduler
from orchestrator.tuning.stopping import end_idle_slots
from orchestrator.tuning.tune_searcher import TuneSearcher


class SlotCount:
    """Adds slots to a running search when nodes join, and takes them away when nodes die.

    The trials of a dead node then are the next to get a slot, before any new one: else Tune gives the slot of a trial
    that ends to a new trial, and those would wait until the search has no new ones left.
    """

    def __init__(
        self, proposals: TuneSearcher, scheduler: QueueScheduler, count_slots: Callable[[], int]
    ) -> None:
        """Ask `count_slots` now and then how many fit on what is there."""
        self._proposals = proposals
        self._scheduler = scheduler
        self._count_slots = count_slots

    def look(self) -> None:
        """Have as many slots as there is room for."""
        slots, controller = self._count_slots(), self._scheduler.controller
        if slots != self._proposals.slots:
            self._proposals.slots = slots
            if controller is not None:
                controller.update_max_pending_trials(slots)
        if controller is not None and self._proposals.running >= slots:
            end_idle_slots(controller)
