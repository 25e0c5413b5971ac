"""Drive Ray Tune: trials are proposed, run in warm slots, and written down."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.air._internal import usage
from ray.tune.execution import class_cache, tune_controller

from orchestrator.datasets import Datasets
from orchestrator.launch.newcomers import Newcomers
from orchestrator.launch.node_checks import Expected
from orchestrator.machines.connection import nodes_of_cluster
from orchestrator.machines.resources import SlotPlan, slots_at_present
from orchestrator.machines.scratch import scratch_folder
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.journal import Event
from orchestrator.runs.trial_log import TrialLog
from orchestrator.slots.waiting import WaitingForRoom
from orchestrator.spec import ExperimentSpec
from orchestrator.tuning.bookkeeper import Bookkeeper, RecordingFailed
from orchestrator.tuning.periodic import Periodic
from orchestrator.tuning.proposals import prepare_trial
from orchestrator.tuning.retries import ActorManager
from orchestrator.tuning.schedulers import QueueScheduler, make_scheduler
from orchestrator.tuning.searchers import make_searcher
from orchestrator.tuning.slot_count import SlotCount
from orchestrator.tuning.stopping import stop_slots
from orchestrator.tuning.trainable import TrialTrainable
from orchestrator.tuning.tune_searcher import TuneSearcher, trial_name
from search_spaces.space import SearchSpace
from search_spaces.values import Value

# Tune gives its actors environment variables of their own, for PyTorch Lightning and for Ray Train. For that Ray starts
# their processes through an agent, which costs 1.5 s at the start of a search; nothing here reads them.
class_cache.DEFAULT_ENV_VARS.clear()
class_cache.ENV_VARS_TO_PROPAGATE.clear()
# Ray's telemetry asks of which kind the callbacks are, and imports MLflow for the answer: another 1.5 s.
usage.tag_callbacks = lambda callbacks: False
# Tune's own ends a whole search when Ray's memory monitor ends one slot.
tune_controller.RayActorManager = ActorManager

TUNE_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: Tune's handler makes an interrupted search look finished
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""Read by Tune when it runs."""

SECONDS_AT_ONCE = 1.0
"""Short epochs of so long are told together where nothing is decided between them: each telling takes some ms."""


def run_trials(
    spec: ExperimentSpec,
    plan: SlotPlan,
    datasets: Datasets,
    run: RunFolder,
    *,
    trials: int,
    history: Sequence[Event],
    verbose: bool,
    expected: Expected | None = None,
) -> None:
    """Run the trials of a search until none is left.

    Args:
        spec: the experiment.
        plan: how many slots, and what each gets.
        datasets: prepares what trials name.
        run: where everything that happens is recorded, and below which trials keep their checkpoints.
        trials: how many at most.
        history: the journal so far, of a search that is resumed.
        verbose: let Tune speak.
        expected: what nodes must have that join, where they may.

    Raises:
        EquipoiseError: what happens cannot be recorded any more.
    """
    space = SearchSpace.from_config(spec.search.space, tasks=list(spec.tasks), fixed=spec.resolved())

    scheduler = make_scheduler(spec.search.stop_early, epochs=spec.most_epochs)

    def assign(number: int, values: dict[str, Value]) -> dict[str, Any]:
        trial = trial_name(number)
        directory = run.directory / "trials" / trial
        return {
            "trial": trial,
            "number": number,
            "values": values,
            "directory": str(directory),
            "slot": {**plan.slot, "expected": expected},
            "seconds_at_once": 0.0 if scheduler.judges_every_epoch else SECONDS_AT_ONCE,
            **prepare_trial(spec, datasets, values, directory),
        }

    searcher = make_searcher(spec.search, space, spec.objectives, seed=spec.seed)
    proposals = TuneSearcher(searcher, assign, trials=trials, slots=plan.slots)
    run.listeners.insert(0, proposals.hear)
    os.environ |= TUNE_SETTINGS | {"TUNE_MAX_PENDING_TRIALS_PG": str(plan.slots)}  # see QueueScheduler
    # What Tune writes is never read again: the journal is the truth.
    with (
        scratch_folder() as scratch,
        TrialLog(run) as log,
        contextlib.nullcontext() if expected is None else Newcomers(expected, run.record) as newcomers,
    ):
        for event in history:
            for hear in (proposals.hear, scheduler.hear, log.hear):
                hear(event)
        log.settle(scheduler.reasons)
        if not proposals.has_more():
            return

        of_the_cluster = (
            _follow_cluster(spec, plan, proposals, scheduler, newcomers, run) if newcomers else []
        )
        try:
            tune.run(
                TrialTrainable,
                name="tune",
                search_alg=proposals,
                scheduler=scheduler,
                resources_per_trial=plan.trial_resources,
                storage_path=str(scratch),
                reuse_actors=True,
                callbacks=[Bookkeeper(log, scheduler.reasons), *of_the_cluster],
                raise_on_failed_trial=False,
                verbose=2 if verbose else 0,
            )
        except BaseException as error:
            if scheduler.controller is not None:
                stop_slots(scheduler.controller)  # Tune does so after an Exception only, not after Ctrl-C
            if isinstance(error, RecordingFailed) and error.__cause__ is not None:
                raise error.__cause__ from None
            raise


def _follow_cluster(
    spec: ExperimentSpec,
    plan: SlotPlan,
    proposals: TuneSearcher,
    scheduler: QueueScheduler,
    newcomers: Newcomers,
    run: RunFolder,
) -> list[tune.Callback]:
    """What keeps a search in step with nodes that come and go."""

    def count_slots() -> int:
        nodes = nodes_of_cluster(without=newcomers.not_to_be_used())
        return slots_at_present(plan, spec.compute, nodes, trials=proposals.total_samples)

    waiting = WaitingForRoom(plan, lambda: proposals.running, run.record)
    return [Periodic(SlotCount(proposals, scheduler, count_slots).look, waiting.look)]
