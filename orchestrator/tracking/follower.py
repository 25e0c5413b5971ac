"""Follows a journal and tells MLflow, in batches, whatever happens to either.

How far MLflow has acknowledged is stored after every batch. Killed at any point and started again, the
follower goes on from there and tells at most one batch twice, which changes nothing. An outage makes it wait.
"""

import contextlib
import fcntl
import logging
import os
import time
from pathlib import Path
from typing import TextIO

from orchestrator.redaction import redacted
from orchestrator.runs.journal import FILE_NAME, follow_journal
from orchestrator.runs.lease import is_held
from orchestrator.tracking.attachments import Attachments
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.process import SHORT_SECONDS
from orchestrator.tracking.runs import RunUpdate, SearchRuns
from orchestrator.tracking.state import LOCK_NAME, TrackingState, read_state, write_state
from orchestrator.tracking.summary import tell_summary
from orchestrator.tracking.uri import with_login
from trainables.durable import flush

POLL_SECONDS = 0.05
BATCH_SECONDS = 1.0
"""Events of at least so long are told together: fewer calls, less taken from training."""
LARGEST_SHARE = 0.1
"""Of a core, that telling may take: where it is costly, batches are larger."""
LEASE_SECONDS = 180.0
"""For how long MLflow is told that the search is alive; renewed after a third of it, or when the clock was set."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
MOST_FAILURES = 3
"""How often in a row a picture or model is tried again; a later writer tries once more."""
GIVE_UP_SECONDS = 600.0
"""How long a follower whose search is gone keeps trying to reach MLflow; `equipoise resume` starts another."""

log = logging.getLogger("equipoise.tracking")


class Follower:
    """Tells MLflow one search.

    Args:
        directory: the search's folder.
        parent: process id of the search; None to tell what there is and end.
    """

    def __init__(self, directory: Path, parent: int | None) -> None:
        self._directory = directory
        self._parent = parent
        self._runs = SearchRuns(directory)
        self._state = TrackingState()
        self._store: MlflowStore | None = None
        self._read = 0
        self._untold: list[RunUpdate] = []
        self._cost = 0.0  # of the last batch: seconds of a core, without those that opening the store took
        self._summarised = False
        self._attachments = Attachments(directory, self._runs)
        self._next_attachment, self._failures = time.monotonic() + SHORT_SECONDS, 0

    def run(self) -> int:
        """Follow to the end of the search; 0 if MLflow was told everything."""
        lock = self._lock()
        if lock is None:
            return 0  # another writer is at work and will finish
        with lock:
            self._state = self._attachments.state = read_state(self._directory)
            self._read_told()
            next_time = lease = 0.0
            ended = False
            while True:
                alone = self._alone()
                new = self._read_new()
                ended = self._runs.over and (ended or new)
                due = alone or self._runs.over or time.monotonic() >= next_time
                left = lease - time.time()
                expiring = not alone and not LEASE_SECONDS * 2 / 3 < left <= LEASE_SECONDS
                if expiring and self._runs.renew_lease(time.time() + LEASE_SECONDS):
                    lease = time.time() + LEASE_SECONDS
                    due = True
                if due and (self._read > self._state.offset or self._runs.has_news) and self._runs.started:
                    if not self._tell():
                        return 1
                    next_time = time.monotonic() + max(BATCH_SECONDS, self._cost / LARGEST_SHARE)
                elif alone and self._parent is not None and not self._runs.over:
                    return 0 if self._close() else 1
                elif self._attach():
                    continue
                elif ended or alone:
                    return 0
                else:
                    time.sleep(POLL_SECONDS)

    def _close(self) -> bool:
        """Our search is gone without a word: say so of whatever it left running. A resume takes it up again."""
        if not self._runs.started or self._runs.over or is_held(self._directory):
            return True  # nothing to say, or it goes on already, with a writer that waits for our lock
        self._runs.abandon()
        return self._tell()

    def _attach(self) -> bool:
        """Attach one thing if its time has come; whether there was one, so that it is worth asking again at once."""
        running = not self._runs.over
        if not self._runs.started or self._failures > MOST_FAILURES:
            return False
        if running and time.monotonic() < self._next_attachment:
            return False
        began = time.monotonic()
        try:
            found = self._attachments.attach_next(self._opened())
            if found:
                write_state(self._directory, self._state)
        except Exception as error:
            self._failures += 1
            log.warning("could not attach a picture or a model: %s", error)
            wait = FIRST_WAIT_SECONDS * 2**self._failures
            if not running:
                time.sleep(wait)
            self._next_attachment = time.monotonic() + wait
            return not running
        if found:
            self._failures = 0
            self._next_attachment = time.monotonic() + (time.monotonic() - began) / LARGEST_SHARE
        return found

    def _alone(self) -> bool:
        return self._parent is None or os.getppid() != self._parent

    def _lock(self) -> TextIO | None:
        """The only writer's lock, which the system frees however that ends; None if waiting is of no use."""
        file = (self._directory / LOCK_NAME).open("w")
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._alone():
                    file.close()
                    return None
                time.sleep(POLL_SECONDS)
            else:
                return file

    def _read_told(self) -> None:
        """Fold what a former writer has told already."""
        if self._state.offset > self._size():
            log.warning("the journal is shorter than what was told of it; telling all again")
            self._state.offset = 0
        if self._state.offset:
            for event, offset in follow_journal(self._directory, 0):
                self._runs.feed(event)
                self._read = offset
                if offset >= self._state.offset:
                    break
        self._runs.take()
        self._runs.restarted.clear()

    def _read_new(self) -> bool:
        """Fold what was appended since; whether there was anything."""
        before = self._read
        if self._size() > before:
            for event, offset in follow_journal(self._directory, before):
                self._runs.feed(event)
                self._read = offset
        return self._read > before

    def _size(self) -> int:
        path = self._directory / FILE_NAME
        return path.stat().st_size if path.exists() else 0

    def _tell(self) -> bool:
        """Tell MLflow all that was read, however long that takes; False when it is time to give up."""
        self._untold = self._runs.take()
        wait, since, problem = FIRST_WAIT_SECONDS, time.monotonic(), ""
        while True:
            try:
                self._tell_once()
                self._keep_told()
            except Exception as error:
                message = redacted(" ".join(str(error).split())) or type(error).__name__
                if message != problem:
                    log.warning("MLflow cannot be told, waiting: %s", message)
                    self._state.error = problem = message
                    with contextlib.suppress(OSError):  # our disk may be full, which may be the problem
                        write_state(self._directory, self._state)
                if self._alone() and time.monotonic() - since > GIVE_UP_SECONDS:
                    log.error(
                        "giving up; finish with: equipoise resume %s, or equipoise doctor --fix",
                        self._directory,
                    )
                    return False
                if self._asked_within(wait):
                    wait, problem = FIRST_WAIT_SECONDS, ""
                else:
                    wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            else:
                if problem:
                    log.info("MLflow is back after %.0f s", time.monotonic() - since)
                    self._failures = 0
                return True

    def _asked_within(self, seconds: float) -> bool:
        """Wait, but not when somebody wants MLflow told now: they would take the error for today's."""
        before, until = self._asked(), time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            if self._asked() != before:
                self._state.error = None
                with contextlib.suppress(OSError):
                    write_state(self._directory, self._state)
                return True
        return False

    def _asked(self) -> int:
        """When somebody last opened our lock; 0 if our disk does not say."""
        try:
            return (self._directory / LOCK_NAME).stat().st_mtime_ns
        except OSError:
            return 0

    def _keep_told(self) -> None:
        """Store how far MLflow was told."""
        self._attachments.forget(self._runs.restarted)
        self._runs.restarted.clear()
        self._state.error = None
        self._state.offset = self._read
        write_state(self._directory, self._state)

    def _tell_once(self) -> None:
        flush(self._directory / FILE_NAME)  # what a power cut could take back is not told
        store = self._opened()
        began = time.process_time()
        while self._untold:
            refusal = store.tell(self._untold[0])
            if refusal is not None:
                log.error("MLflow refused run %s: %s", self._untold[0].name, refusal)
            del self._untold[0]
        self._cost = time.process_time() - began
        if self._runs.over or not self._summarised:
            self._summarised = tell_summary(store, self._runs, self._state)

    def _opened(self) -> MlflowStore:
        if self._store is None:
            runs = self._runs
            self._store = MlflowStore(with_login(runs.tracking_uri), runs.experiment, runs.uid, self._state)
        return self._store
