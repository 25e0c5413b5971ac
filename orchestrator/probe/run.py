"""The probe of an experiment file, in this process."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.datasets import Datasets
from orchestrator.earlier_models import with_earlier_models
from orchestrator.errors import ConfigError, RunFailed
from orchestrator.machines.connection import this_machine
from orchestrator.machines.resources import plan_training
from orchestrator.probe.proposal import Branch, propose
from orchestrator.probe.report import PartConflict, ProbeReport
from orchestrator.report import formats
from orchestrator.spec import ExperimentSpec
from trainables.errors import ModelError, TrainingError

if TYPE_CHECKING:
    from trainables.training.probe import Conflicts
    from trainables.training.report import EpochReport

EPOCHS = 2
"""That a probe trains, where the file trains so many."""


def probe(
    spec: ExperimentSpec,
    *,
    epochs: int | None = None,
    every: int,
    threshold: float,
    tell: Callable[[str], None] = lambda line: None,
    decoding: Callable[[int, int], None] = lambda done, total: None,
) -> ProbeReport:
    """Train the first `epochs` epochs of `spec` with hard sharing and equal weights, and see where tasks conflict.

    Args:
        spec: the experiment; what it searches, shares and how it balances is left aside.
        epochs: default `EPOCHS`, or all of the file if those are fewer.
        every: steps from one look at the gradients to the next.
        threshold: cosines below it are conflicts.
        tell: called with a line for each epoch.
        decoding: called while images are decoded, with how many are done and how many there are.

    Raises:
        ConfigError: there is one task only, or less to train than `epochs`; the backbone cannot be divided.
        ClusterError: this machine has not what one worker takes.
        DataError: the data cannot be used as configured.
        RunFailed: nothing that tasks share is trained, or a loss is not finite.
    """
    began = time.monotonic()
    if len(spec.tasks) < 2:
        raise ConfigError(
            "tasks: a single task has no other one to conflict with.", "Name two tasks or more."
        )
    planned = spec.training.epochs
    if epochs is not None and epochs > planned:
        raise ConfigError(
            f"--epochs: a probe is the beginning of a training, and this one has {formats.count(planned, 'epoch')}.",
            f"Write --epochs {planned} or less, or change training.epochs.",
        )
    epochs = min(planned, EPOCHS) if epochs is None else epochs
    spec = with_earlier_models(spec)
    found = _measure(spec, epochs, every, tell, decoding)
    return _report(spec, found, epochs, threshold, time.monotonic() - began)


def _measure(
    spec: ExperimentSpec,
    epochs: int,
    every: int,
    tell: Callable[[str], None],
    decoding: Callable[[int, int], None],
) -> "Conflicts":
    """As one worker, with the cores or the GPU that such a training would get."""
    config = spec.trial_config()
    data = Datasets(spec, report=decoding).of(config)
    workers = spec.compute.workers
    one = spec.compute.model_copy(update={"workers": workers if workers == "auto" else 1})
    plan = plan_training(one, [this_machine()])

    import torch

    from trainables.training.probe import measure_conflicts
    from trainables.training.world import World

    def on_epoch(report: "EpochReport") -> None:
        known = report.metrics | report.costs
        values = (f"{name} {formats.metric(known.get(name), name)}" for name in spec.objectives)
        tell(f"epoch {report.epoch}/{epochs}: {'  '.join(values)}")

    torch.set_num_threads(plan.cpus)
    world = World.single(torch.device("cuda", 0) if plan.gpus else "cpu")
    try:
        return measure_conflicts(config, data, world, epochs=epochs, every=every, on_epoch=on_epoch)
    except ModelError as error:
        raise ConfigError(f"{error.key or 'model'}: {error.message}", error.hint) from error
    except TrainingError as error:
        raise RunFailed(f"{error.key or 'training'}: {error.message}", error.hint) from error


def _report(
    spec: ExperimentSpec, found: "Conflicts", epochs: int, threshold: float, seconds: float
) -> ProbeReport:
    pairs = [f"{a}:{b}" for a, b in found.pairs]
    scores = [_known(score) for score in found.scores(threshold).tolist()]
    parts = []
    for number, (name, cosines) in enumerate(zip(found.parts, found.mean_cosines().tolist(), strict=True)):
        known = [cosine for cosine in cosines if not math.isnan(cosine)]
        parts.append(
            PartConflict(
                part=number + 1,
                name=name,
                parameters=found.parameters[number],
                conflict=scores[number],
                cosine=sum(known) / len(known) if known else None,
                cosines=dict(zip(pairs, map(_known, cosines), strict=True)),
            )
        )
    branches = [
        Branch(part.part - 1, part.name, part.conflict, found.parameters_branching(part.part - 1))
        for part in parts
        if part.parameters
    ]
    return ProbeReport(
        name=spec.name,
        epochs=epochs,
        steps=len(found.cosines),
        threshold=threshold,
        seconds=seconds,
        parts=tuple(parts),
        pairs=dict(zip(pairs, map(_known, found.scores_of_pairs(threshold).tolist()), strict=True)),
        proposal=propose(
            branches, found.model_parameters, gradients=getattr(spec.balancing, "gradients", "parameters")
        ),
    )


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
