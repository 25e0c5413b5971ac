"""The journal keeps what was said and drops what was torn."""

import resource
import signal
from pathlib import Path

import pytest

from orchestrator.errors import EquipoiseError
from orchestrator.runs.journal import FILE_NAME, Event, Journal, JournalDamaged, follow_journal, read_journal


def test_events_come_back_in_order(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        written = [
            journal.append("epoch", trial="t000", report={"epoch": n, "loss": 0.1 * n}) for n in range(5)
        ]
    assert list(read_journal(tmp_path)) == written


def test_following_from_an_offset_gives_the_rest(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for n in range(5):
            journal.append("epoch", n=n)
        offsets = [offset for _, offset in follow_journal(tmp_path, 0)]
        for n, offset in enumerate(offsets):
            assert [event["n"] for event, _ in follow_journal(tmp_path, offset)] == list(range(n + 1, 5))


@pytest.mark.parametrize("torn_bytes", [1, 2, 10, 30])
def test_a_torn_last_record_is_dropped_and_written_over(tmp_path: Path, torn_bytes: int) -> None:
    with Journal(tmp_path) as journal:
        for n in range(3):
            journal.append("epoch", n=n)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-torn_bytes])
    assert [event["n"] for event in read_journal(tmp_path)] == [0, 1]
    with Journal(tmp_path) as journal:
        journal.append("epoch", n="after")
    assert [event["n"] for event in read_journal(tmp_path)] == [0, 1, "after"]


def test_text_and_not_finite_numbers_survive(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(
            "epoch", text='two\nlines, "quotes" and ümlauts', value=float("inf"), missing=float("nan")
        )
    (event,) = read_journal(tmp_path)
    assert event["text"] == 'two\nlines, "quotes" and ümlauts'
    assert event["value"] == float("inf")
    assert event["missing"] != event["missing"]


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    """Whatever byte is damaged, what is read is what was written, or there is an error; the last record may be lost."""
    with Journal(tmp_path) as journal:
        written = [journal.append("epoch", n=n, value=0.1 * n, text="ä\n") for n in range(3)]
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (0, 3, 6):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                found = list(read_journal(tmp_path))
            except JournalDamaged:
                continue
            assert [without_checksum(event) for event in found] in (written, written[:2]), (position, bit)


def without_checksum(event: Event) -> Event:
    """A checksum whose name was damaged is a field like any other."""
    return {key: event[key] for key in ("event", "time", "n", "value", "text")}


def test_damage_is_reported_with_its_line(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for n in range(3):
            journal.append("epoch", n=n)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":7'))
    with pytest.raises(JournalDamaged, match=r"journal\.jsonl:2: this record was damaged"):
        list(read_journal(tmp_path))


def test_a_full_disk_leaves_whole_records_only(tmp_path: Path) -> None:
    """And what is written when there is room again is read as if nothing had happened."""
    with Journal(tmp_path) as journal:
        journal.append("epoch", n=0)
        room = (tmp_path / FILE_NAME).stat().st_size + 20
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(EquipoiseError, match="cannot be written"):
                journal.append("epoch", n=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        journal.append("epoch", n=2)
    assert [event["n"] for event in read_journal(tmp_path)] == [0, 2]
