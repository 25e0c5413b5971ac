"""How many trials run at the same time, and what each gets. Plain numbers in, a decision out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import ClusterError
from orchestrator.spec import ComputeConfig


@dataclass(frozen=True)
class NodeResources:
    """What one machine offers."""

    cpus: float
    gpus: float = 0
    memory: int = 0
    """Bytes; 0 if unknown."""


@dataclass(frozen=True)
class SlotPlan:
    """Equal slots: `slots` trials at a time, each of `workers` workers with `cpus` cores and `gpus` GPUs."""

    slots: int
    workers: int
    cpus: int
    gpus: float

    @property
    def slot(self) -> dict[str, float]:
        """What `orchestrator.slots.choose.SlotRequest` is made of."""
        return {"workers": self.workers, "cpus": self.cpus, "gpus": self.gpus}

    @property
    def trial_resources(self) -> dict[str, float]:
        """What Tune reserves for a slot's actor.

        Of one worker: what it really uses. Of several: next to nothing, because Ray Train reserves the workers.
        """
        if self.workers > 1:
            return {"memory": 1}
        return {"cpu": self.cpus, "gpu": self.gpus} if self.gpus else {"cpu": self.cpus}


def plan_slots(compute: ComputeConfig, nodes: Sequence[NodeResources]) -> SlotPlan:
    """Slots of a search over `nodes`: as many as fit, or as many as asked for.

    Raises:
        ClusterError: one slot does not fit, or fewer than `compute.slots` do; with the arithmetic.
    """
    workers = 1 if compute.workers == "auto" else compute.workers
    return _planned(compute, nodes, workers, compute.per_worker.cpu)


def plan_training(compute: ComputeConfig, nodes: Sequence[NodeResources]) -> SlotPlan:
    """The one slot of a training without a search, which has `nodes` to itself.

    `workers: auto` is one worker per GPU; without GPUs one worker with all cores of a machine, which beats several
    that exchange gradients.

    Raises:
        ClusterError: the workers asked for do not fit; with the arithmetic.
    """
    if compute.workers != "auto":
        return _planned(compute.model_copy(update={"slots": 1}), nodes, compute.workers, compute.per_worker.cpu)
    gpus = int(sum(node.gpus for node in nodes))
    if compute.per_worker.gpu != 0 and gpus > 0:
        one = compute.model_copy(update={"slots": 1})
        return _planned(one, nodes, gpus, compute.per_worker.cpu)
    cores = max(int(node.cpus) for node in nodes)
    return SlotPlan(slots=1, workers=1, cpus=max(cores, 1), gpus=0)


def _planned(compute: ComputeConfig, nodes: Sequence[NodeResources], workers: int, cpus: int) -> SlotPlan:
    gpus = _gpus_per_worker(compute, nodes)
    places = sum(_workers_that_fit(node, cpus, gpus) for node in nodes)
    fit = places // workers
    wanted = max(fit, 1) if compute.slots == "auto" else compute.slots
    if wanted > fit:
        raise _does_not_fit(wanted, workers, cpus, gpus, places, nodes)
    return SlotPlan(slots=wanted, workers=workers, cpus=cpus, gpus=gpus)


def _gpus_per_worker(compute: ComputeConfig, nodes: Sequence[NodeResources]) -> float:
    if compute.per_worker.gpu == "auto":
        return 1.0 if any(node.gpus for node in nodes) else 0.0
    return float(compute.per_worker.gpu)


def _workers_that_fit(node: NodeResources, cpus: int, gpus: float) -> int:
    by_cpu = math.floor(node.cpus / cpus)
    return by_cpu if gpus == 0 else min(by_cpu, math.floor(node.gpus / gpus + 1e-9))


def _does_not_fit(
    slots: int, workers: int, cpus: int, gpus: float, places: int, nodes: Sequence[NodeResources]
) -> ClusterError:
    need = [f"{slots} slots × {workers} workers × {cpus} CPU = {slots * workers * cpus} CPU"]
    have = [f"{sum(node.cpus for node in nodes):g} CPU"]
    if gpus:
        need.append(f"{slots * workers} × {gpus:g} GPU = {slots * workers * gpus:g} GPU")
        have.append(f"{sum(node.gpus for node in nodes):g} GPU")
    where = "this machine has" if len(nodes) == 1 else f"the {len(nodes)} nodes have"
    return ClusterError(
        f"compute: {' and '.join(need)} needed, but {where} {' and '.join(have)}, room for {places} such workers.",
        "Lower compute.slots, compute.workers or compute.per_worker, or add nodes. `auto` takes what fits.",
    )
