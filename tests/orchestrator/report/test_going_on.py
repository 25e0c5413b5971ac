"""What a resumed run, an interrupted one and a trial that was run again look like."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.report.comparison import Rerun, print_comparison
from orchestrator.report.display import EventLines
from orchestrator.report.ending import ending
from orchestrator.report.live import LiveSearch
from orchestrator.report.search_log import SearchLog, read_search
from tests.orchestrator.journals import search_events, write_journal


def resumed() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The events before an interrupt of a hundred seconds, and those after it."""
    events = list(search_events(trials=4))
    middle = len(events) // 2
    time = events[middle - 1]["time"]
    going_on = {
        "event": "search_resumed",
        "time": time + 101.0,
        "began": time + 100.0,
        "earlier_seconds": time - events[0]["time"],
    }
    after = [{**event, "time": event["time"] + 101.0} for event in events[middle:]]
    return events[:middle], [going_on, *after]


@pytest.mark.parametrize("kind", [EventLines, LiveSearch])
def test_a_resumed_run_begins_with_its_plan_and_counts_on(kind: type[EventLines | LiveSearch]) -> None:
    before, after = resumed()
    console = Console(width=100, file=io.StringIO(), force_terminal=kind is LiveSearch)
    with kind(console) as display:
        display.recall(before)
        for event in after:
            display.on_event(event)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert said.count("4 trials of at most 4 epochs") == 1
    if kind is EventLines:
        assert "goes on" in said
        assert "[4/4]" in said


def test_the_time_between_two_lives_is_not_counted() -> None:
    before, after = resumed()
    log = SearchLog(Path())
    for event in before:
        log.feed(event)
    interrupted_after = log.record().seconds
    log.feed(after[0])
    assert log.record().seconds == pytest.approx(interrupted_after + 1.0)


def test_a_repeated_epoch_that_differs_is_shown() -> None:
    before, after = resumed()
    differed = {"event": "epoch_differed", "time": after[0]["time"], "trial": "t000", "epoch": 2}
    console = Console(width=200, file=io.StringIO())
    display = EventLines(console)
    display.recall(before)
    display.on_event({**differed, "values": {"left.accuracy": [0.5, 0.25]}})
    assert isinstance(console.file, io.StringIO)
    assert "t000 epoch 2 was repeated and came out differently (left.accuracy 0.5 before, 0.25 now)" in (
        console.file.getvalue()
    )


NEWS: list[tuple[dict[str, Any], str]] = [
    (
        {"event": "node_left_out", "reason": "node 10.0.0.2 has torch 2.13.0", "hint": "Install the same."},
        "left out: node 10.0.0.2 has torch 2.13.0. Install the same.",
    ),
    (
        {"event": "short_of_memory", "trial": "t001", "reason": "Out of memory on cuda:0."},
        "t001 ran out of memory and goes on with training.recompute, ",
    ),
    (
        {"event": "unsaved", "trial": "t001", "reason": "No space left on device"},
        "t001 goes on, but what it learns cannot be kept at present: No space left on device",
    ),
    (
        {"event": "waiting_for_room", "trials": 2, "room": 0, "workers": 2, "cpus": 4, "gpus": 1},
        "the run waits for machines: there is room for no trial at present, and each takes 2 workers of 4 cores",
    ),
    (
        {"event": "waiting_for_room", "trials": 8, "room": 3, "workers": 1, "cpus": 1, "gpus": 0},
        "5 of 8 trials wait for machines: there is room for 3 trials at present, and each takes 1 core. It goes on",
    ),
]


@pytest.mark.parametrize(("event", "expected"), NEWS)
@pytest.mark.parametrize("kind", [EventLines, LiveSearch])
def test_what_a_search_got_over_is_shown(
    kind: type[EventLines | LiveSearch], event: dict[str, Any], expected: str
) -> None:
    before, after = resumed()
    console = Console(width=200, file=io.StringIO())
    display = kind(console)
    display.recall(before)
    display.on_event({**event, "time": after[0]["time"]})
    assert isinstance(console.file, io.StringIO)
    assert expected in console.file.getvalue()


@pytest.mark.parametrize("end", [{"status": "interrupted"}, None])
def test_what_can_go_on_says_how(end: dict[str, str] | None, tmp_path: Path) -> None:
    events = list(search_events(trials=3))
    events = [*events[:-1], {**events[-1], **end}] if end else events[:-1]
    console = Console(width=300, file=io.StringIO())
    directory = write_journal(tmp_path / "elsewhere" / "digits-pair-001", events)
    console.print(ending(read_search(directory)))
    assert isinstance(console.file, io.StringIO)
    assert f"equipoise resume {directory}" in console.file.getvalue()


def test_a_rerun_is_told_to_people_and_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(Rerun("s-001", "t003", 6))
    assert "t003 of s-001: 6 epochs repeated, equal to the last bit" in capsys.readouterr().out
    different = Rerun("s-001", "t003", 6, 2, {"score": (0.5, float("nan"))}, {"torch": ("1.0", "2.0")})
    print_comparison(different)
    said = capsys.readouterr().out
    assert "epoch 2 is the first that differs" in said
    assert "torch: 1.0 recorded, 2.0 now" in said
    print_comparison(different, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "event": "rerun_finished",
        "search_id": "s-001",
        "trial": "t003",
        "epochs": 6,
        "equal": False,
        "differing_epoch": 2,
        "differing": {"score": [0.5, None]},
        "changed": {"torch": ["1.0", "2.0"]},
    }
