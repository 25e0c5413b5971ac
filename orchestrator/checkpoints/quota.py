"""Keeps what trials write below a limit while a search runs."""

import logging
from collections.abc import Iterable
from pathlib import Path

from orchestrator.checkpoints.kept import checkpoints_of, remove, spared
from orchestrator.report.search_log import SearchLog
from orchestrator.runs.journal import Event
from orchestrator.spec.sections import CheckpointsConfig

_log = logging.getLogger(__name__)


class Keeper:
    """A listener: whenever a trial ends, what is not to be kept goes.

    Sizes are read from the disk, not counted, so that they are right whatever slots write meanwhile. What
    live trials, a resume and the Pareto set need always stays, also above the quota; then that is logged.
    """

    def __init__(self, config: CheckpointsConfig, directory: Path) -> None:
        self._config = config
        self._directory = directory
        self._searched = SearchLog(directory)
        self._warned = False

    def __call__(self, event: Event) -> None:
        """Take in an event, and make room after the end of a trial."""
        self._searched.feed(event)
        if event["event"] == "trial_ended":
            self._make_room()

    def recall(self, events: Iterable[Event]) -> None:
        """Take in what was before an interrupt."""
        for event in events:
            self._searched.feed(event)

    def _make_room(self) -> None:
        keeps_last, quota = self._config.keep == "best+last", self._config.quota_bytes
        if keeps_last and quota is None:
            return
        there = checkpoints_of(self._directory)
        used = sum(checkpoint.size for checkpoint in there)
        for checkpoint in spared(self._searched.record(), there):
            if (keeps_last or checkpoint.kind == "best") and (quota is None or used <= quota):
                continue
            remove(checkpoint)
            used -= checkpoint.size
        if quota is not None and used > quota and not self._warned:
            self._warned = True
            _log.warning(
                "checkpoints take %d MB, more than tracking.checkpoints.quota: all are needed", used >> 20
            )
