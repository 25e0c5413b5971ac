"""Drive Ray Tune: trials are proposed, run in warm slots, and written down."""

import os
import tempfile
from typing import Any

from ray import tune
from ray.tune.execution import class_cache

from orchestrator.datasets import Datasets
from orchestrator.resources import SlotPlan
from orchestrator.run_folder import RunFolder
from orchestrator.spec import ExperimentSpec
from orchestrator.trial_log import TrialLog
from orchestrator.tuning.bookkeeper import Bookkeeper
from orchestrator.tuning.schedulers import make_scheduler
from orchestrator.tuning.searchers import make_searcher
from orchestrator.tuning.trainable import TrialTrainable
from orchestrator.tuning.tune_searcher import TuneSearcher, trial_name
from search_spaces.space import SearchSpace
from search_spaces.values import Value

# Tune gives its actors environment variables of their own, for PyTorch Lightning and for Ray Train. For that Ray starts
# their processes through an agent, which costs 1.5 s at the start of a search; nothing here reads them.
class_cache.DEFAULT_ENV_VARS.clear()
class_cache.ENV_VARS_TO_PROPAGATE.clear()

RESTARTS = 2
"""How often a trial whose process died is started again; it goes on from its last checkpoint."""


def run_trials(spec: ExperimentSpec, plan: SlotPlan, datasets: Datasets, run: RunFolder) -> None:
    """Run the trials of a search until none is left.

    Args:
        spec: the experiment.
        plan: how many slots, and what each gets.
        datasets: prepares what trials name.
        run: where everything that happens is recorded, and below which trials keep their checkpoints.
    """
    space = SearchSpace.from_config(spec.search.space, tasks=list(spec.tasks), fixed=spec.resolved())

    def assign(number: int, values: dict[str, Value]) -> dict[str, Any]:
        config = spec.trial_config_with(values)
        trial = trial_name(number)
        return {
            "trial": trial,
            "number": number,
            "values": values,
            "config": config.model_dump(mode="json", by_alias=True),
            "data": str(datasets.of(config).directory),
            "directory": str(run.directory / "trials" / trial),
            "slot": plan.slot,
        }

    searcher = make_searcher(spec.search, space, spec.objectives, seed=spec.seed)
    proposals = TuneSearcher(searcher, assign, trials=spec.search.trials, slots=plan.slots)
    run.listeners.append(proposals.hear)
    scheduler = make_scheduler(spec.search.stop_early, epochs=spec.training.epochs)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(plan.slots)  # see QueueScheduler
    # What Tune writes is never read again: the journal is the truth.
    with tempfile.TemporaryDirectory(prefix="eqp-tune-") as scratch, TrialLog(run) as log:
        tune.run(
            TrialTrainable,
            name="tune",
            search_alg=proposals,
            scheduler=scheduler,
            resources_per_trial=plan.trial_resources,
            storage_path=scratch,
            max_failures=RESTARTS,
            reuse_actors=True,
            callbacks=[Bookkeeper(log, scheduler.reasons)],
            raise_on_failed_trial=False,
            verbose=0,
        )
