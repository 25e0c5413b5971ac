"""Ends slots: of a search that is left early, and those that nobody will use."""

import time
from typing import Any

GRACE_SECONDS = 2.0
"""For slots between two epochs. One that is in an epoch hears of it only afterwards, which may be an hour."""


def end_idle_slots(controller: Any) -> None:
    """Give back what slots hold that wait for a trial: others may wait for it.

    Tune keeps one such slot, in case there is a next trial.
    """
    controller._cleanup_cached_actors(force_all=True)


def stop_slots(controller: Any) -> None:
    """Tell every slot to close; kill those that have not after a moment. Their trials go on from the last checkpoint.

    Tune's own `TuneController.cleanup` waits ten seconds for slots in an epoch. What they have reserved is given back
    by the reaper.
    """
    manager = controller._actor_manager
    for actor, trial in list(controller._actor_to_trial.items()):
        if manager.is_actor_started(actor):
            controller._schedule_trial_stop(trial)
    controller._cleanup_cached_actors(force_all=True)
    until = time.monotonic() + GRACE_SECONDS
    while manager.num_total_actors and time.monotonic() < until:
        manager.next(timeout=0.1)
    manager.cleanup()
    controller.end_experiment_callbacks()
