"""Run a search: from an experiment file to compared trials."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from orchestrator.datasets import Datasets
from orchestrator.earlier_models import require_weights, with_earlier_models
from orchestrator.launch.node_checks import checked_nodes
from orchestrator.machines.connection import (
    RayAddress,
    connected,
    nodes_of_cluster,
    set_environment,
    this_machine,
)
from orchestrator.machines.resources import plan_slots
from orchestrator.report.records import SearchRecord
from orchestrator.report.search_log import read_search
from orchestrator.resuming.replay import History
from orchestrator.runs.folder import Listener, decoding_to, open_run
from orchestrator.runs.start import RunStart
from orchestrator.spec import ExperimentSpec
from search_spaces.space import SearchSpace


def run_search(
    spec: ExperimentSpec,
    *,
    listeners: tuple[Listener, ...] = (),
    verbose: bool = False,
    earlier: History | None = None,
) -> SearchRecord:
    """Run the search that `spec` describes, and return its trials.

    Args:
        spec: what `load_spec` returned.
        listeners: called with every event as it is journaled (see `orchestrator.runs.journal`).
        verbose: show what Ray and its workers print.
        earlier: what there is of this search already (`resume`).

    Raises:
        EquipoiseError: something the user can mend: no resources, no tracking store, a folder that is not writable.
        ConfigError: `model.weights` names an earlier run that kept no model, or are gone and all that is left needs
            them.
        DataError: the data cannot be used as configured.
        KeyboardInterrupt: the search was interrupted; what it did is kept.
    """
    start = RunStart.now(spec, earlier)
    spec = with_earlier_models(spec, resumed=earlier is not None)
    where, machine = RayAddress.from_environment(), this_machine()
    trials = _planned_trials(spec)
    if earlier is not None and where.address is None:  # else files may be where only the nodes see them
        require_weights(spec, earlier, trials)
    # What can never fit is an error before anything starts; a cluster must be asked first.
    plan = plan_slots(spec.compute, [machine], trials=trials) if where.is_private else None
    datasets = Datasets(spec, report=decoding_to(listeners))
    set_environment(where)
    with (
        contextlib.ExitStack() as afterwards,
        ThreadPoolExecutor(max_workers=2) as background,
        contextlib.ExitStack() as first,
    ):
        first.callback(datasets.abandon)
        # Importing Ray Tune costs 1.5 s: now, while Ray's processes start, and not after.
        tuning = background.submit(import_module, "orchestrator.tuning.run")
        data = background.submit(datasets.prepare_all)
        if spec.search.sampler == "quasi_random":
            background.submit(import_module, "scipy.stats")  # 0.6 s more
        with connected(where, machine, verbose=verbose):
            plan = plan or plan_slots(spec.compute, nodes_of_cluster(), trials=trials)
            prepared = data.result()
            storage = Path(spec.tracking.storage).absolute()
            with (
                contextlib.nullcontext()
                if where.is_private
                else checked_nodes(storage, prepared.directory, start.tracking_uri) as expected,
                open_run(
                    spec,
                    "search",
                    prepared,
                    listeners=listeners,
                    start=start,
                    plan=plan,
                    trials=trials,
                    afterwards=afterwards,
                    earlier=earlier,
                ) as run,
            ):
                tuning.result().run_trials(
                    spec,
                    plan,
                    datasets,
                    run,
                    trials=trials,
                    history=earlier.events if earlier else (),
                    verbose=verbose,
                    expected=expected,
                )
    return read_search(run.directory)


def _planned_trials(spec: ExperimentSpec) -> int:
    """`search.trials`, or fewer where there is less to try."""
    space = SearchSpace.from_config(spec.search.space, tasks=list(spec.tasks), fixed=spec.resolved())
    proposals = space.grid_points() if spec.search.sampler == "grid" else space.every_proposal()
    return spec.search.trials if proposals is None else min(spec.search.trials, len(proposals))
