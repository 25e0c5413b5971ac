"""Which slot serves which request."""

from dataclasses import dataclass

from orchestrator.launch.node_checks import Expected
from orchestrator.slots.base import TrialSlot


@dataclass(frozen=True)
class SlotRequest:
    """What every slot of a search gets."""

    workers: int
    cpus: int
    """Cores per worker, which are also its torch threads."""
    gpus: float = 0
    """GPUs per worker."""
    in_process: bool | None = None
    """Whether to train in the process that opens the slot. Default: if there is one worker."""
    expected: Expected | None = None
    """What must hold on every node where the slot has a process, where that is not known yet."""


def open_slot(request: SlotRequest) -> TrialSlot:
    """A slot in this process for one worker, a warm Ray Train worker group for several.

    Raises:
        UnfitNode: this process is on a node where no trial may run. That of workers is found out by `start`.
    """
    if request.expected is not None:
        request.expected.require_here()
    in_process = request.workers == 1 if request.in_process is None else request.in_process
    if in_process:
        from orchestrator.slots.in_process import InProcessSlot

        return InProcessSlot(cpus=request.cpus, gpus=request.gpus)
    from orchestrator.slots.train_workers import TrainWorkersSlot

    return TrainWorkersSlot(
        workers=request.workers, cpus=request.cpus, gpus=request.gpus, expected=request.expected
    )
