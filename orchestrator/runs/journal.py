"""The journal of a search: an append-only file of events, the one record from which everything else is derived.

Reports read it, the MLflow writer follows it by byte offset, and a resume rebuilds the search from it. Every record is
on disk before the search goes on, so a killed driver loses nothing that was said; a record torn by the kill is dropped.
Each record ends with a checksum: a file that was damaged later is refused, not believed.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from orchestrator.errors import EquipoiseError, NotRecorded
from orchestrator.runs.clock import Clock
from trainables.durable import flush

FILE_NAME = "journal.jsonl"
Event = dict[str, Any]
_CHECKSUM = b',"crc":"'


class Record(Protocol):
    """`RunFolder.record`."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Journal an event."""


class JournalDamaged(EquipoiseError):  # noqa: N818 - named for what happened
    """A record that once was whole is not any more."""


class Journal:
    """Appends events to `<directory>/journal.jsonl`, with the time that `clock` shows (default: one of its own)."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        path = directory / FILE_NAME
        self._clock = clock or Clock()
        self._length = _length_of_whole_records(path)
        self._file = path.open("ab", buffering=0)
        if self._file.tell() != self._length:
            self._file.truncate(self._length)
        os.fdatasync(self._file.fileno())  # a killed process may not have come so far
        for folder in (directory, directory.parent):  # the names of the file and of its folder
            flush(folder)

    def append(self, event: str, *, ago: float = 0.0, **fields: Any) -> Event:
        """Write one event, which happened `ago` seconds before now, and return it once it is on disk.

        Its `time` is in seconds since 1970.

        Raises:
            NotRecorded: the disk is full or gone.
        """
        record: Event = {"event": event, "time": self._clock.now() - ago, **fields}
        try:
            self._write(record)
        except OSError as error:
            with contextlib.suppress(OSError):  # half a record: nothing may ever follow it
                self._file.truncate(self._length)
            raise NotRecorded(f"{self._file.name} cannot be written: {error.strerror}") from error
        return record

    def _write(self, record: Event) -> None:
        body = json.dumps(record, separators=(",", ":"), allow_nan=True).encode()
        rest = body[:-1] + _CHECKSUM + _checksum(body) + b'"}\n'
        length = self._length + len(rest)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fdatasync(self._file.fileno())
        self._length = length

    def now(self) -> float:
        """The time by the journal's clock, in seconds since 1970."""
        return self._clock.now()

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
    """All whole events of a search, oldest first. Raises `JournalDamaged`."""
    for event, _ in follow_journal(directory, 0):
        yield event


def follow_journal(directory: Path, offset: int) -> Iterator[tuple[Event, int]]:
    """Whole events after `offset` bytes, each with the offset behind it. Ends at the end of the file.

    Raises:
        JournalDamaged: a record cannot be read, or is not what was written.
    """
    with (directory / FILE_NAME).open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            event = _event(line)
            if event is None:
                raise _damaged(directory / FILE_NAME, offset)
            offset += len(line)
            yield event, offset


def _event(line: bytes) -> Event | None:
    """What a line says, without its checksum; None if it is damaged."""
    start, mark, checksum = line.rpartition(_CHECKSUM)
    body = start + b"}" if mark else line  # written by hand, or before there were checksums
    if mark and checksum != _checksum(body) + b'"}\n':
        return None
    try:
        event = json.loads(body)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event and "time" in event else None


def _damaged(path: Path, offset: int) -> JournalDamaged:
    with path.open("rb") as file:
        number = file.read(offset).count(b"\n") + 1
    return JournalDamaged(
        f"{path}:{number}: this record was damaged after it had been written",
        "Restore the file from a copy. Without one start a new search; its images are decoded already.",
    )


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


def _length_of_whole_records(path: Path) -> int:
    """Bytes up to and including the last newline."""
    if not path.exists():
        return 0
    return path.read_bytes().rfind(b"\n") + 1
