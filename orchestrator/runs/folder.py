"""A run's folder: its journal, its checkpoints, and the process that writes it to MLflow."""

import contextlib
import logging
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from orchestrator.checkpoints.quota import Keeper
from orchestrator.errors import EquipoiseError, NotRecorded
from orchestrator.machines.resources import SlotPlan
from orchestrator.report.search_log import read_search
from orchestrator.resuming.replay import History
from orchestrator.runs.clock import Clock
from orchestrator.runs.journal import Event, Journal
from orchestrator.runs.lease import hold_lease
from orchestrator.runs.provenance import provenance
from orchestrator.runs.start import RunStart
from orchestrator.spec import ExperimentSpec
from orchestrator.tracking.process import start_writer
from orchestrator.tracking.uri import (
    without_login,
)
from search_spaces.space import SearchSpace
from trainables.data.prepared import PreparedData
from trainables.durable import make_folders

SECONDS_TO_TELL, SECONDS_TO_TELL_AN_INTERRUPT = 120.0, 3.0
"""How long the end of a run waits for MLflow's writer: not long if someone waits, or if it can keep nothing either."""

Listener = Callable[[Event], None]
_log = logging.getLogger(__name__)


@dataclass
class RunFolder:
    """An open run: what is recorded in it is on disk before it goes on, and is then told to the listeners."""

    directory: Path
    journal: Journal
    listeners: list[Listener]
    _turn: threading.RLock = field(default_factory=threading.RLock, repr=False)
    """One event after the other, also where a thread watches what another one waits for."""

    def record(self, event: str, *, ago: float = 0.0, **fields: Any) -> None:
        """Journal one event, which happened `ago` seconds before now, then tell the listeners."""
        with self._turn:
            self._listen(self.journal.append(event, ago=ago, **fields))

    def tell(self, event: str, **fields: Any) -> None:
        """Tell the listeners only: of a full disk, say, which has no room for the news."""
        with self._turn:
            self._listen({"event": event, "time": self.journal.now(), **fields})

    def _listen(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


def contained(listener: Listener) -> Listener:
    """The same listener, which loses its place when it fails: a display that breaks must not end a search."""
    works = True

    def listen(event: Event) -> None:
        nonlocal works
        if not works:
            return
        try:
            listener(event)
        except (Exception, SystemExit):  # rich exits when nobody reads its output any more
            works = False
            _log.warning("a listener failed and is told nothing more", exc_info=True)

    return listen


def decoding_to(listeners: tuple[Listener, ...]) -> Callable[[int, int], None]:
    """Tells listeners how far decoding has come. Such events are not journaled: there is no run yet."""
    told, clock = [contained(listener) for listener in listeners], Clock()

    def report(done: int, total: int) -> None:
        for listener in told:
            listener({"event": "decoding", "time": clock.now(), "done": done, "total": total})

    return report


@contextlib.contextmanager
def open_run(
    spec: ExperimentSpec,
    kind: Literal["search", "train"],
    data: PreparedData,
    *,
    listeners: tuple[Listener, ...],
    start: RunStart,
    plan: SlotPlan,
    trials: int,
    afterwards: contextlib.ExitStack,
    earlier: History | None = None,
) -> Iterator[RunFolder]:
    """Make the next free folder, journal how the run began, and have it written to MLflow until the end.

    Or go on in the folder of a run that was interrupted. The body conducts the run; however it is left, the run's end
    is journaled and MLflow is told.

    Args:
        spec: the experiment.
        kind: a search with trials below it, or one training.
        data: of the experiment's own config.
        listeners: called with every event.
        start: when the command was given, and where results go.
        plan: the slots.
        trials: how many there will be at most.
        afterwards: closed by the caller last, when Ray is gone: waits until MLflow has been told the end.
        earlier: what there is of the run, whose lease the caller holds.

    Raises:
        EquipoiseError: the folder cannot be written.
    """
    if earlier is not None:
        earlier.require_same(data)
    name = spec.name if kind == "search" else f"{spec.name}-train"
    directory = earlier.directory if earlier else _next_folder(Path(spec.tracking.storage).absolute(), name)
    with (
        contextlib.nullcontext() if earlier else hold_lease(directory),
        Journal(directory, start.clock) as journal,
    ):
        keeper = Keeper(spec.tracking.checkpoints, directory)
        if earlier is not None:
            keeper.recall(earlier.events)
        run = RunFolder(directory, journal, [contained(keeper), *map(contained, listeners)])
        if earlier is None:
            _begin(
                run,
                kind=kind,
                search_id=directory.name,
                name=spec.name,
                spec=spec.resolved(),
                spec_text=spec.text,
                overrides=list(spec.overrides),
                folder=str(spec.folder.absolute()),
                working_directory=str(Path.cwd()),
                objectives=list(spec.objectives),
                data=describe_data(data),
                directory=str(directory),
                trials=trials,
                searched=_searched_keys(spec) if kind == "search" else [],
                slots=asdict(plan),
                tracking_uri=without_login(start.tracking_uri),
                began=start.time,
                **provenance(directory),
            )
        else:
            run.record(
                "search_resumed",
                directory=str(directory),
                slots=asdict(plan),
                began=start.time,
                earlier_seconds=earlier.seconds,
                **provenance(directory),
            )
        writer = start_writer(directory)
        status, patience = "failed", SECONDS_TO_TELL
        try:
            yield run
            status = "completed"
        except KeyboardInterrupt:
            # Who presses Ctrl-C waits for no server: what it was not told in time, the writer tells by itself.
            status, patience = "interrupted", SECONDS_TO_TELL_AN_INTERRUPT
            raise
        except NotRecorded:
            patience = SECONDS_TO_TELL_AN_INTERRUPT
            raise
        finally:
            afterwards.callback(writer.finish, patience)
            seconds = start.clock.now() - start.time + (earlier.seconds if earlier else 0.0)
            try:
                run.record("search_ended", status=status, seconds=seconds, **outcome(directory))
            except NotRecorded:
                if status == "completed":  # else what ended the run says so already
                    raise


def _begin(run: RunFolder, **fields: Any) -> None:
    """Record that a run began. Of one that cannot even say so nothing stays."""
    try:
        run.record("search_started", **fields)
    except NotRecorded as error:
        shutil.rmtree(run.directory, ignore_errors=True)  # made for this run just now
        raise EquipoiseError(
            error.message, "Free some space, or name another folder with tracking.storage."
        ) from error


def _searched_keys(spec: ExperimentSpec) -> list[str]:
    """What may vary within the search, whether or not a particular trial has it: dotted keys of the config."""
    space = SearchSpace.from_config(spec.search.space, tasks=list(spec.tasks), fixed=spec.resolved())
    return list(space.leaves())


def outcome(directory: Path) -> dict[str, Any]:
    """The Pareto set and its hypervolume, as journaled at the end of a search."""
    record = read_search(directory)
    return {
        "pareto": [trial.trial for trial in record.front],
        "hypervolume": None if math.isnan(volume := record.hypervolume()) else volume,
        "reference": record.reference,
    }


def describe_data(data: PreparedData) -> dict[str, Any]:
    """Digest, classes, and per split the number of examples and of labels per task; of several sources each."""
    return {
        "digest": data.digest,
        "image": list(data.images.shape[1:]),
        "dropped": data.dropped,
        "splits": {split: len(rows) for split, rows in data.splits.items()},
        "classes": {task: list(names) for task, names in data.classes.items()},
        "labels": {
            task: {split: int(np.count_nonzero(labels.present[rows])) for split, rows in data.splits.items()}
            for task, labels in data.labels.items()
        },
        "sources": {
            name: {
                split: int(np.count_nonzero((rows >= own.start) & (rows < own.stop)))
                for split, rows in data.splits.items()
            }
            for name, own in data.sources.items()
        },
    }


def _next_folder(storage: Path, name: str) -> Path:
    """Create `<storage>/<name>-001`, or the next number that is free."""
    try:
        make_folders(storage)
        for number in range(1, 1_000_000):
            folder = storage / f"{name}-{number:03d}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise EquipoiseError(
            f"cannot write results to {storage}: {error.strerror}",
            hint="set tracking.storage to a folder you may write to",
        ) from error
    raise EquipoiseError(f"{storage} is full of runs called {name}", hint="choose another name")
