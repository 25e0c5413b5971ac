"""The mailbox through which a slot commands its ranks: one command for all of them, one outcome from each.

Nobody polls: a rank's call returns when there is a command, the slot's when every rank has answered. The
mailbox is an actor of the slot's process, so it ends with the slot, and the ranks that wait at it end with
the mailbox.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.launch.node_checks import UnfitNode
from orchestrator.slots.base import Assignment
from trainables.errors import DataError, ModelError, TrainingError
from trainables.training.report import EpochReport

SECONDS_FOR_THE_OTHERS = 10.0
"""How long the other ranks may take to answer after one has failed."""


@dataclass(frozen=True)
class Start:
    """Begin a trial, or go on with it from a checkpoint."""

    assignment: Assignment
    checkpoint: Path | None
    generation: int
    """Ranks whose process group is of another generation make a new one first."""


@dataclass(frozen=True)
class RunEpoch:
    """Train one epoch and validate."""


@dataclass(frozen=True)
class Save:
    """Write the training state."""

    directory: Path


@dataclass(frozen=True)
class SaveBest:
    """Write the model of the selected epoch."""

    directory: Path


Command = Start | RunEpoch | Save | SaveBest


@dataclass(frozen=True)
class Failure:
    """An exception on one rank, in a form that any process can read."""

    rank: int
    type: str
    """Qualified name of the exception's class."""
    message: str
    traceback: str
    error: TrainingError | ModelError | DataError | UnfitNode | None
    """The exception itself, if it is one that the user can put right."""


@dataclass(frozen=True)
class Outcome:
    """What one rank has to say when a command is done, or when it has joined."""

    report: EpochReport | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Answers:
    """What came of one command."""

    outcomes: dict[int, Outcome]
    """By rank, in the order of arrival: the first failure is the cause of the others."""
    lost: str | None = None
    """Why the group can serve no further command, if so. Ranks without an outcome died or hang."""
    started: bool = True
    """Whether all ranks have ever joined."""


class Mailbox:
    """Actor: holds one command at a time and the outcomes of the ranks."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._commands: list[asyncio.Queue[Command]] = [asyncio.Queue() for _ in range(workers)]
        self._outcomes: dict[int, Outcome] = {}
        self._joined: set[int] = set()
        self._lost: str | None = None
        self._controller: Any = None
        self._closed = False
        self._news = asyncio.Condition()

    async def exchange(self, rank: int, outcome: Outcome) -> Command:
        """For ranks: hand in what came of the last command (nothing, at first) and wait for the next."""
        async with self._news:
            if rank in self._joined:
                self._outcomes[rank] = outcome
            self._joined.add(rank)
            self._news.notify_all()
        return await self._commands[rank].get()

    async def call(self, command: Command) -> Answers:
        """For the slot: give `command` to every rank, once all have joined, and wait for their outcomes.

        Returns early when the group is lost, and `SECONDS_FOR_THE_OTHERS` after a first failure.
        """
        async with self._news:
            await self._news.wait_for(lambda: len(self._joined) == self._workers or self._lost)
            if self._lost:
                return Answers({}, self._lost, started=len(self._joined) == self._workers)
            self._outcomes = {}
            for queue in self._commands:
                queue.put_nowait(command)
            await self._news.wait_for(lambda: self._lost or self._all_answered() or self._any_failed())
            try:
                await asyncio.wait_for(
                    self._news.wait_for(lambda: self._lost or self._all_answered()), SECONDS_FOR_THE_OTHERS
                )
            except TimeoutError:
                silent = sorted(set(range(self._workers)) - set(self._outcomes))
                self._lost = f"no answer from rank {', '.join(map(str, silent))}"
            return Answers(self._outcomes, self._lost)

    async def lose(self, reason: str) -> None:
        """For those who watch the group: it can serve no further command. The first reason stays."""
        async with self._news:
            self._lost = self._lost or reason
            self._news.notify_all()

    async def lost(self) -> str | None:
        """Why the group can serve no further command, or None."""
        return self._lost

    async def set_controller(self, controller: Any) -> None:
        """For Ray Train's controller: its own handle, before it reserves anything.

        Raises:
            RuntimeError: the slot closed meanwhile. The controller then ends by itself.
        """
        if self._closed:
            raise RuntimeError("the slot is closed")
        self._controller = controller

    async def controller(self) -> Any:
        """The handle of Ray Train's controller, or None while there is none."""
        return self._controller

    async def close(self) -> Any:
        """For the slot: as `controller`, and none is accepted from now on."""
        self._closed = True
        await self.lose("the slot is closed")
        return self._controller

    def _all_answered(self) -> bool:
        return len(self._outcomes) == self._workers

    def _any_failed(self) -> bool:
        return any(outcome.failure is not None for outcome in self._outcomes.values())
