"""Where one turn of a benchmark runs, so that it leaves nothing to the next one."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.tracking.state import is_being_told

PATIENCE = 120.0
"""Seconds."""


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder. At its end the writers of its runs are waited for: they make pictures after a search."""
    with tempfile.TemporaryDirectory(prefix="equipoise-benchmark-") as name:
        folder = Path(name)
        yield folder
        until = time.monotonic() + PATIENCE
        while any(map(is_being_told, folder.glob("equipoise_runs/*"))) and time.monotonic() < until:
            time.sleep(0.2)
