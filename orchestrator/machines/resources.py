"""How many slots fit: plain arithmetic over what the nodes have, decided before anything starts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.spec import ComputeConfig

MEMORY_PER_WORKER = 800_000_000
"""Bytes that a worker process of a small model takes: Python, torch and Ray (measured: 0.66 to 0.82 GB)."""


@dataclass(frozen=True)
class NodeResources:
    """What one machine has in all."""

    cpus: float
    gpus: float = 0
    memory: int = 0
    """Bytes; 0 if unknown."""


@dataclass(frozen=True)
class SlotPlan:
    """How many trials run at the same time, and what each gets."""

    slots: int
    workers: int
    """Data-parallel workers of each slot."""
    cpus: int
    """Cores per worker."""
    gpus: float
    """GPUs per worker."""
    in_process: bool | None = None
    """As in `SlotRequest`."""
    limited_by: str = field(default="", compare=False)
    """What an automatic number of slots follows from, in words."""

    @property
    def slot(self) -> dict[str, Any]:
        """The arguments of a `SlotRequest`."""
        return {
            "workers": self.workers,
            "cpus": self.cpus,
            "gpus": self.gpus,
            "in_process": self.in_process,
        }

    @property
    def trial_resources(self) -> dict[str, float]:
        """What the process that holds the slot requests from Ray.

        One worker lives in that process, which therefore requests what it uses. Several workers are
        reserved by Ray Train; the process that commands them requests one byte, because Ray accepts no
        empty request.
        """
        if self.workers > 1:
            return {"memory": 1}
        return {"cpu": self.cpus} | ({"gpu": self.gpus} if self.gpus else {})

    def room_on(self, nodes: Sequence[NodeResources], *, within_memory: bool = False) -> int:
        """How many such slots fit on nodes. A worker never spans two of them, the workers of one slot may."""
        fitting = (_workers_on(node, self.cpus, self.gpus, within_memory=within_memory) for node in nodes)
        return sum(fitting) // self.workers


def plan_slots(
    compute: ComputeConfig, nodes: Sequence[NodeResources], *, trials: int | None = None
) -> SlotPlan:
    """Decide the slots of a search, or raise with the arithmetic.

    Memory limits only what is automatic: how much a worker takes depends on its model, so that a number of slots that
    was asked for is believed.

    Args:
        compute: the `compute` section.
        nodes: the live nodes, and those that an autoscaler may add.
        trials: no more slots than trials are of use.

    Raises:
        ClusterError: what is requested can never fit.
    """
    workers = 1 if compute.workers == "auto" else compute.workers
    cpus = compute.per_worker.cpu
    gpus = _gpus(compute.per_worker.gpu, nodes)
    if gpus > 1 and gpus != int(gpus):
        raise ClusterError(
            f"compute.per_worker.gpu is {gpus:g}", hint="Above 1 it must be a whole number: 0.5, 1, 2."
        )
    each = SlotPlan(slots=1, workers=workers, cpus=cpus, gpus=gpus)
    fitting, in_memory = each.room_on(nodes), each.room_on(nodes, within_memory=True)
    least, most = _bounds(compute, trials)
    if fitting < least:
        raise ClusterError(_arithmetic(least, workers, cpus, gpus, nodes), hint=_cure(fitting, compute))
    slots = int(max(least, min(fitting, in_memory, most)))
    limited_by = ""
    if slots < most:
        limited_by = _limit(nodes, cpus, gpus, within_memory=in_memory < fitting)
    return replace(each, slots=slots, limited_by=limited_by)


def slots_at_present(
    plan: SlotPlan, compute: ComputeConfig, nodes: Sequence[NodeResources], *, trials: int
) -> int:
    """The slots of a search that runs, on the `nodes` that are left or have come; what each gets stays as planned.

    At least one, so that a trial asks for room where there is none.
    """
    least, most = _bounds(compute, trials)
    wanted = max(least, min(plan.room_on(nodes, within_memory=True), most))
    return max(1, int(min(wanted, plan.room_on(nodes))))


def plan_training(compute: ComputeConfig, nodes: Sequence[NodeResources]) -> SlotPlan:
    """The one slot of a training without a search, which has `nodes` to itself.

    `workers: auto` is one worker per GPU; without GPUs one worker with all cores of a machine, which beats
    several that exchange gradients.

    Raises:
        ClusterError: the workers asked for can never fit.
    """
    if compute.workers == "auto":
        gpus = int(sum(node.gpus for node in nodes))
        if gpus == 0 or compute.per_worker.gpu == 0:
            return SlotPlan(slots=1, workers=1, cpus=max(1, *(int(node.cpus) for node in nodes)), gpus=0)
        compute = compute.model_copy(update={"workers": gpus})
    return plan_slots(compute.model_copy(update={"slots": 1}), nodes)


def _bounds(compute: ComputeConfig, trials: int | None) -> tuple[int, float]:
    """How many slots at least and at most, for so many trials."""
    enough = math.inf if trials is None else trials
    match compute.slots:
        case "auto":
            return 1, enough
        case int(number):
            return int(min(number, enough)), min(number, enough)
        case (least, most):
            return int(min(least, enough)), min(most, enough)


def _gpus(wanted: float | str, nodes: Sequence[NodeResources]) -> float:
    if isinstance(wanted, str):
        return 1 if any(node.gpus >= 1 for node in nodes) else 0
    return wanted


def _workers_on(node: NodeResources, cpus: int, gpus: float, *, within_memory: bool = False) -> int:
    """How many workers fit on one node."""
    limits = [int(node.cpus // cpus)]
    if gpus >= 1:
        limits.append(int(node.gpus // gpus))
    elif gpus > 0:
        # A fraction is a fraction of one device: of a third, two fit on a GPU if it is written as 0.34.
        limits.append(int(node.gpus) * int((1 + 1e-9) // gpus))
    if within_memory and node.memory:
        limits.append(node.memory // MEMORY_PER_WORKER)
    return min(limits)


def _limit(nodes: Sequence[NodeResources], cpus: int, gpus: float, *, within_memory: bool) -> str:
    """What there is of the scarcest: `8 cores`, `2 GPUs` or `3.2 GB of free memory`."""
    if within_memory:
        return f"{sum(node.memory for node in nodes) / 1e9:.1f} GB of free memory"
    cores, devices = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    kind, total = ("GPU", devices) if gpus and devices / gpus <= cores / cpus else ("core", cores)
    return f"{total:g} {kind}{'s' * (total != 1)}"


def _arithmetic(slots: int, workers: int, cpus: int, gpus: float, nodes: Sequence[NodeResources]) -> str:
    """The shortage in one line: `2 slots × 3 workers × 4 CPU = 24 CPU, this machine has 2`."""
    here = "this machine has" if len(nodes) == 1 else f"the {len(nodes)} nodes have"
    factors = [f"{slots} slot{'s' * (slots > 1)}"] * (slots > 1) + [f"{workers} worker{'s' * (workers > 1)}"]
    kinds = [("CPU", cpus, sum(node.cpus for node in nodes)), ("GPU", gpus, sum(node.gpus for node in nodes))]
    short = [
        f"{' × '.join([*factors, f'{each:g} {kind}'])} = {slots * workers * each:g} {kind}, {here} {total:g}"
        for kind, each, total in kinds
        if slots * workers * each > total
    ]
    if short:
        return "; ".join(short)
    # Enough in all, but in parts that are too small for one worker each.
    each = f"{cpus} CPU" + (f" and {gpus:g} GPU" if gpus else "")
    count = sum(_workers_on(node, cpus, gpus) for node in nodes)
    return f"{' × '.join(factors)} of {each} each are {slots * workers} workers, but {here} room for {count}"


def _cure(fitting: int, compute: ComputeConfig) -> str:
    if fitting > 0:
        fewer = f"[{fitting}, {compute.slots[1]}]" if isinstance(compute.slots, tuple) else str(fitting)
        return f"Set compute.slots to {fewer} or auto."
    smaller = "compute.workers or " if compute.workers not in ("auto", 1) else ""
    return f"Set {smaller}compute.per_worker lower, or add machines."
