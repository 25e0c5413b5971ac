"""The journal keeps what was said and drops what was torn."""

from pathlib import Path

import pytest

from orchestrator.journal import FILE_NAME, Journal, follow_journal, read_journal


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
