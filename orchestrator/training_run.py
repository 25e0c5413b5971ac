"""Train once, without a search."""

import contextlib
import time
from dataclasses import asdict, replace
from pathlib import Path

from orchestrator.datasets import Datasets
from orchestrator.earlier_models import require_weights, with_earlier_models
from orchestrator.errors import ConfigError, EquipoiseError, NotRecorded, RunFailed
from orchestrator.launch.node_checks import checked_nodes
from orchestrator.machines.connection import RayAddress, connected, nodes_of_cluster, this_machine
from orchestrator.machines.resources import plan_training
from orchestrator.report.records import SearchRecord
from orchestrator.report.search_log import read_search
from orchestrator.resuming.replay import History
from orchestrator.runs.folder import Listener, RunFolder, decoding_to, open_run
from orchestrator.runs.start import RunStart
from orchestrator.runs.trial_log import TrialLog
from orchestrator.slots.base import Assignment
from orchestrator.slots.choose import SlotRequest, open_slot
from orchestrator.slots.trial_run import TrialRun, explain_failure
from orchestrator.slots.waiting import WaitingForRoom
from orchestrator.spec import ExperimentSpec
from orchestrator.spec.combinations import as_finding
from trainables.config.fit import misfit
from trainables.errors import StorageError

TRIAL = "t000"


def train(
    spec: ExperimentSpec,
    *,
    listeners: tuple[Listener, ...] = (),
    verbose: bool = False,
    earlier: History | None = None,
) -> SearchRecord:
    """Train what `spec` describes on the whole machine or cluster; its one trial is the result's only one.

    In this process when one worker of this machine is enough, else in a Ray Train worker group. `earlier` is what
    there is of this training already (`resume`).

    Raises:
        EquipoiseError: something the user can mend: no resources, no tracking store, a loss that is not finite.
        ConfigError: `model.weights` names an earlier run that kept no model, or are gone and needed, or the balancing
            method finds nothing to balance.
        DataError: the data cannot be used as configured.
        KeyboardInterrupt: the training was interrupted; what it did is kept.
    """
    if (found := misfit(spec)) is not None:  # where a search decides about it, its file may say so
        raise ConfigError(str(as_finding(found)))
    start = RunStart.now(spec, earlier)
    spec = with_earlier_models(spec, resumed=earlier is not None)
    where, machine = RayAddress.from_environment(), this_machine()
    if earlier is not None and where.address is None:  # else the file may be where only the nodes see it
        require_weights(spec, earlier, trials=1)
    with contextlib.ExitStack() as afterwards, contextlib.ExitStack() as stack:
        plan = plan_training(spec.compute, [machine]) if where.is_private else None
        if plan is None or plan.workers > 1:
            stack.enter_context(connected(where, machine, verbose=verbose))
        plan = plan or plan_training(spec.compute, nodes_of_cluster())
        plan = replace(plan, in_process=where.is_private and plan.workers == 1)
        datasets = Datasets(spec, report=decoding_to(listeners))
        data = datasets.of(spec.trial_config())
        if not where.is_private:
            storage = Path(spec.tracking.storage).absolute()
            stack.enter_context(checked_nodes(storage, data.directory, start.tracking_uri))
        run = stack.enter_context(
            open_run(
                spec,
                "train",
                data,
                listeners=listeners,
                start=start,
                plan=plan,
                trials=1,
                afterwards=afterwards,
                earlier=earlier,
            )
        )
        if not where.is_private:
            stack.enter_context(WaitingForRoom(plan, lambda: 1, run.record).looking())
        _train_in(run, spec, SlotRequest(**plan.slot), datasets, earlier)
    return read_search(run.directory)


def _train_in(
    run: RunFolder, spec: ExperimentSpec, request: SlotRequest, datasets: Datasets, earlier: History | None
) -> None:
    config = spec.trial_config()
    assignment = Assignment(TRIAL, config, datasets.of(config).directory, run.directory / "trials" / TRIAL)
    opened = time.monotonic()
    with contextlib.closing(open_slot(request)) as slot, TrialLog(run) as log:
        for event in earlier.events if earlier else ():
            log.hear(event)
        log.settle({})
        if log.has_ended(TRIAL):
            return
        log.begin(TRIAL, 0, {}, config.model_dump(mode="json", by_alias=True))
        try:
            trial = TrialRun(slot, assignment)
            start_seconds = time.monotonic() - opened
            finished = False
            while not finished:
                trial.checkpoint_if_due()
                report = trial.run_epoch()
                log.epoch(TRIAL, asdict(report), start_seconds)
                log.unsaved(TRIAL, trial.unsaved)
                log.short_of_memory(TRIAL, trial.short_of_memory)
                finished = report.finished
        except EquipoiseError:  # what happens cannot be recorded: no fault of the training, which can go on
            raise
        except StorageError as error:
            raise NotRecorded(error.message) from error
        except Exception as error:
            reason = explain_failure(error, assignment.directory)
            log.end(TRIAL, "failed", reason)
            raise RunFailed(reason) from error
        log.end(TRIAL, "completed")
