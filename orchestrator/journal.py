"""The journal of a search: an append-only file of events, the one record from which everything else is derived.

Reports read it, and the MLflow writer follows it by byte offset. Every record is on disk before the search goes on,
so a killed driver loses nothing that was said; a record torn by the kill is dropped.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.errors import EquipoiseError

FILE_NAME = "journal.jsonl"
Event = dict[str, Any]


class Journal:
    """Appends events to `<directory>/journal.jsonl`."""

    def __init__(self, directory: Path) -> None:
        path = directory / FILE_NAME
        whole = _length_of_whole_records(path)
        self._file = path.open("ab")
        if self._file.tell() != whole:
            self._file.truncate(whole)

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event and return it once it is on disk. Its `time`, unless given: now, in seconds since 1970.

        Raises:
            EquipoiseError: the disk is full or gone.
        """
        record: Event = {"event": event, "time": time.time(), **fields}
        try:
            self._write(record)
        except OSError as error:
            raise EquipoiseError(
                f"cannot write {self._file.name}: {error.strerror}",
                "Free some space; what was written before is kept.",
            ) from error
        return record

    def _write(self, record: Event) -> None:
        self._file.write(json.dumps(record, separators=(",", ":"), allow_nan=True).encode() + b"\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(directory: Path) -> Iterator[Event]:
    """All whole events of a search, oldest first."""
    for event, _ in follow_journal(directory, 0):
        yield event


def follow_journal(directory: Path, offset: int) -> Iterator[tuple[Event, int]]:
    """Whole events after `offset` bytes, each with the offset behind it. Ends at the end of the file."""
    with (directory / FILE_NAME).open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield json.loads(line), offset


def _length_of_whole_records(path: Path) -> int:
    """Bytes up to and including the last newline."""
    if not path.exists():
        return 0
    return path.read_bytes().rfind(b"\n") + 1
