"""What every rank of a warm worker group does: trials one after another, as the mailbox commands."""

import traceback
from datetime import timedelta
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from torch import distributed
from torch.distributed import distributed_c10d

from orchestrator.launch.node_checks import Expected, UnfitNode
from orchestrator.slots.cores import keep_to_own_cores
from orchestrator.slots.mailbox import Command, Failure, Outcome, RunEpoch, Save, Start
from trainables.data.prepared import PreparedData, load_prepared
from trainables.errors import DataError, ModelError, TrainingError
from trainables.training.report import EpochReport
from trainables.training.state import load_state, save_state
from trainables.training.trainer import Trainer
from trainables.training.world import World


def serve(settings: dict[str, Any]) -> None:
    """Ray Train's train function. Ends when the group is aborted or the mailbox is gone.

    `settings`: `mailbox` (actor handle), `cpus` (torch threads), `timeout` (seconds for one collective) and `expected`
    (of this node, or None).
    """
    # Ray exports OMP_NUM_THREADS, and nested launchers do too; what the trial asked for is what counts.
    torch.set_num_threads(settings["cpus"])
    context = ray.train.get_context()
    rank, device = context.get_world_rank(), ray.train.torch.get_device()
    if device.type == "cpu":
        keep_to_own_cores(context.get_local_rank(), context.get_local_world_size(), settings["cpus"])
    mailbox = settings["mailbox"]
    timeout = timedelta(seconds=settings["timeout"])
    trial = _Rank(rank, device, timeout, settings["expected"])
    turn = mailbox.exchange.remote(rank, Outcome())
    while True:
        command: Command = ray.get(turn)
        outcome = trial.obey(command)
        turn = mailbox.exchange.remote(rank, outcome)
        if outcome.failure is not None and isinstance(command, Start | RunEpoch):
            # The others may wait for this rank in a collective: gloo's closed connections wake them at once.
            # After the outcome is on its way, so that the cause arrives before its consequences.
            trial.leave_process_group()


class _Rank:
    """One rank: its part of the running trial, and the data that it keeps mapped between trials."""

    def __init__(
        self, rank: int, device: torch.device, timeout: timedelta, expected: Expected | None
    ) -> None:
        self._expected = expected
        self._rank = rank
        self._device = device
        self._timeout = timeout
        self._generation = 0
        # The process group that Ray Train made goes away with the first failure; the store that the ranks
        # met in stays, and serves all later groups.
        self._size = distributed.get_world_size()
        self._backend = distributed.get_backend()
        self._store = distributed_c10d._get_default_store()
        self._data: PreparedData | None = None
        self._trainer: Trainer | None = None

    def obey(self, command: Command) -> Outcome:
        """Carry out `command`. Whatever goes wrong becomes part of the outcome."""
        try:
            return Outcome(report=self._do(command))
        except Exception as error:  # the trial's failure, not the rank's
            if isinstance(command, Start):
                self._trainer = None
            return Outcome(failure=_failure(self._rank, error))

    def _do(self, command: Command) -> EpochReport | None:
        if isinstance(command, Start):
            self._start(command)
            return None
        if self._trainer is None:
            raise RuntimeError("no trial has been started in this slot")
        if isinstance(command, RunEpoch):
            return self._trainer.run_epoch()
        if self._rank > 0:
            return None
        if isinstance(command, Save):
            save_state(self._trainer.state_dict(), command.directory)
            return None
        self._trainer.save_best(command.directory)
        return None

    def _start(self, command: Start) -> None:
        self._trainer = None
        if self._expected is not None:
            self._expected.require_here()
            self._expected = None  # a node stays what it is
        self._join_process_group(command.generation)
        assignment = command.assignment
        if self._data is None or self._data.directory != assignment.data:
            self._data = load_prepared(assignment.data)
        state = load_state(command.checkpoint) if command.checkpoint is not None else None
        self._trainer = Trainer(assignment.config, self._data, World.distributed(self._device), state=state)

    def _join_process_group(self, generation: int) -> None:
        if generation == self._generation:
            return
        self.leave_process_group()
        distributed.init_process_group(
            self._backend,
            store=distributed_c10d.PrefixStore(f"generation-{generation}", self._store),
            rank=self._rank,
            world_size=self._size,
            timeout=self._timeout,
        )
        self._generation = generation

    def leave_process_group(self) -> None:
        """Close the connections to the other ranks."""
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _failure(rank: int, error: Exception) -> Failure:
    return Failure(
        rank=rank,
        type=f"{type(error).__module__}.{type(error).__qualname__}",
        message=str(error),
        traceback=traceback.format_exc(),
        error=error if isinstance(error, TrainingError | ModelError | DataError | UnfitNode) else None,
    )
