"""What is printed: machine interfaces exactly, text for people by what it must contain and how wide it is."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from orchestrator.errors import ConfigError
from orchestrator.report import formats
from orchestrator.report.display import EventLines, Silence, open_display
from orchestrator.report.ending import ending, ending_json, exit_code
from orchestrator.report.eta import remaining
from orchestrator.report.live import LiveSearch
from orchestrator.report.plan import plan
from orchestrator.report.records import SearchRecord
from orchestrator.report.search_log import SearchLog, read_search
from orchestrator.report.tables import search_table, show_search
from tests.orchestrator.journals import search_events, write_journal

WIDTHS = (60, 80, 140)


@pytest.fixture
def search(tmp_path: Path) -> Path:
    return write_journal(tmp_path / "digits-pair-001", list(search_events()))


@pytest.fixture
def record(search: Path) -> SearchRecord:
    return read_search(search)


def text(renderable: RenderableType, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_show_json_is_the_stable_interface(search: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_search(search.parent, None, output_format="json")
    trials = json.loads(capsys.readouterr().out)
    assert len(trials) == 12
    for trial in trials:
        assert list(trial) == [
            *("trial", "status", "pareto", "epochs", "seconds", "train_seconds", "start_seconds"),
            *("config", "metrics", "run_id"),
        ]
    first = trials[0]
    assert first["trial"] == "t000"
    assert set(first["config"]) == {
        "balancing.weights.left",
        "balancing.weights.right",
        "model.backbone.width",
        "training.optimizer.lr",
    }
    metrics = {"left.accuracy", "left.loss", "right.accuracy", "right.loss", "score"}
    assert set(first["metrics"]) == metrics | {"model.parameters", "model.flops", "model.latency_ms"}
    assert first["metrics"]["score"] == read_search(search).trials[0].metrics["score"], "full precision"


def test_show_pareto_only(search: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_search(search.parent, None, pareto=True, output_format="json")
    shown = [trial["trial"] for trial in json.loads(capsys.readouterr().out)]
    assert shown == [trial.trial for trial in read_search(search).front]


def test_show_csv(search: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_search(search.parent, "digits", output_format="csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 12
    assert rows[7]["reason"] == "loss of task right is nan at step 12"
    assert rows[7]["left.accuracy"] == ""
    assert float(rows[0]["model.backbone.width"]) in (16, 32, 64)


def test_an_unknown_format_is_refused(search: Path) -> None:
    with pytest.raises(ConfigError, match="table, csv, json"):
        show_search(search.parent, None, output_format="xml")


def test_not_a_number_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = list(search_events(trials=1))
    events[-2]["metrics"]["left.loss"] = float("nan")
    write_journal(tmp_path / "s-001", events)
    show_search(tmp_path, None, output_format="json")
    assert json.loads(capsys.readouterr().out)[0]["metrics"]["left.loss"] is None


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_fits_and_marks_the_front(record: SearchRecord, width: int) -> None:
    printed = text(search_table(record, record.trials, width=width), width)
    lines = printed.splitlines()
    assert max(map(len, lines)) <= width
    for trial in record.trials:
        (line,) = (line for line in lines if f" {trial.trial} " in line)
        assert (line[0] in "●◆") == trial.pareto
        assert "…" not in line.split("loss of")[0]
    if width == 140:
        assert "loss of task right is nan" in printed
    if width == 60:
        assert "not shown for want of width" in printed


def test_constants_are_not_shown(record: SearchRecord) -> None:
    assert "batch_size" not in text(search_table(record, record.trials, width=140), 140)


def test_ascii_terminals_get_ascii_marks(record: SearchRecord) -> None:
    printed = text(search_table(record, record.trials, width=100, unicode=False))
    assert "●" not in printed
    assert "* Pareto set" in printed


@pytest.mark.parametrize("width", WIDTHS)
def test_the_ending_names_the_best_and_the_next_step(record: SearchRecord, width: int) -> None:
    printed = text(ending(record), width)
    assert max(map(len, printed.splitlines())) <= width
    best = record.best("left.accuracy")
    assert best is not None
    assert f"best left.accuracy   {best.trial}" in printed
    assert "hypervolume" in printed
    assert "1 trial failed (t007): loss of task right is nan" in printed
    assert "equipoise show digits-pair-001 --pareto" in printed
    assert "equipoise ui" in printed


def test_a_cost_is_an_objective_that_is_minimised(tmp_path: Path) -> None:
    start, *events = search_events()
    start["objectives"] = ["left.accuracy", "model.parameters"]
    record = read_search(write_journal(tmp_path / "digits-pair-001", [start, *events]))
    smallest = record.best("model.parameters")
    assert smallest is not None
    parameters = [trial.metrics["model.parameters"] for trial in record.candidates]
    assert smallest.metrics["model.parameters"] == min(parameters)
    assert smallest.pareto or smallest.metrics["left.accuracy"] < record.front[-1].metrics["left.accuracy"]
    assert record.reference == {"left.accuracy": 0.0, "model.parameters": max(parameters)}
    said = text(ending(record), 120)
    assert "lowest model.parameters" in said
    assert f"model.parameters {formats.amount(max(parameters))}, the largest seen" in said


def test_costs_that_differ_are_shown_without_being_objectives(record: SearchRecord) -> None:
    shown = text(search_table(record, record.trials, width=140), 140)
    assert "params" in shown
    assert "11.8k" in shown


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0"), (999, "999"), (11_173_962, "11.2M"), (3.6e9, "3.6G"), (999_999, "1M")]
)
def test_amounts(number: float, said: str) -> None:
    assert formats.amount(number) == said


def test_failures_are_grouped_by_cause(tmp_path: Path) -> None:
    events = list(search_events())
    for step, event in enumerate(event for event in events if event["event"] == "trial_ended"):
        event |= {"status": "failed", "reason": f"loss is nan at step {step}", "metrics": {}}
    record = read_search(write_journal(tmp_path / "s-001", events))
    assert "12 trials failed" in text(ending(record))
    assert exit_code(record) == 1


def test_steps_without_a_solution_are_told(record: SearchRecord) -> None:
    assert "with equal weights instead: t001 (6)" in text(ending(record))
    assert "degraded, some steps" in text(search_table(record, record.trials, width=100))
    assert "degraded" not in text(search_table(record, record.trials[2:], width=100))


def test_search_finished_line(record: SearchRecord) -> None:
    line = json.loads(json.dumps(ending_json(record)))
    assert list(line) == [
        *("event", "search_id", "trials", "seconds", "pareto", "hypervolume", "reference"),
        *("tracking_uri", "experiment_id"),
    ]
    assert line["event"] == "search_finished"
    assert line["pareto"] == [trial.trial for trial in record.front]
    assert exit_code(record) == 4


def test_train_finished_line(tmp_path: Path) -> None:
    record = read_search(write_journal(tmp_path / "s-001", list(search_events(trials=1, kind="train"))))
    line = ending_json(record)
    assert list(line) == ["event", "run_id", "seconds", "workers", "slot", "epochs", "metrics"]
    assert (line["event"], line["workers"], line["slot"], line["epochs"]) == (
        "train_finished",
        1,
        "in_process",
        4,
    )
    assert exit_code(record) == 0
    assert "finished" in text(ending(record))


@pytest.mark.parametrize(("status", "code"), [("interrupted", 130), ("failed", 1), ("completed", 0)])
def test_exit_codes(tmp_path: Path, status: str, code: int) -> None:
    events = list(search_events(trials=2))
    events[-1]["status"] = status
    assert exit_code(read_search(write_journal(tmp_path / "s-001", events))) == code


@pytest.mark.parametrize("width", WIDTHS)
def test_the_plan_says_what_will_happen(width: int) -> None:
    started = next(search_events())
    started["data"]["labels"]["left"] = {"train": 11_000, "val": 2_000, "test": 4_000}
    printed = text(plan(started), width)
    assert "12 trials of at most 4 epochs" in printed
    if width > 60:
        assert "11,000" in printed
    assert "left.accuracy, right.accuracy" in printed


def test_the_plan_names_the_sources_and_how_they_are_mixed() -> None:
    started = next(search_events())
    started["data"]["sources"] = {"digits": {"train": 12_000}, "clothes": {"train": 60_000}}
    started["spec"]["data"]["mixing"] = {"digits": 2.0, "clothes": 1.5}
    counts = "digits 12,000, clothes 60,000 training images"
    assert f"{counts}, mixed digits 2, clothes 1.5" in text(plan(started), 120)
    started["spec"]["data"]["mixing"] = "uniform"
    assert f"{counts}, mixed uniform" in text(plan(started), 120)


def test_the_plan_says_why_there_are_fewer_trials_than_asked_for() -> None:
    started = next(search_events())
    started["trials"] = 6
    assert "6 trials (of 12 asked for: the space has no more) of at most 4 epochs" in text(plan(started), 100)


def test_displays_by_where_output_goes() -> None:
    assert isinstance(open_display(as_json=True), Silence)
    assert isinstance(open_display(console=Console(file=io.StringIO())), EventLines)
    assert isinstance(open_display(console=Console(file=io.StringIO(), force_terminal=True)), LiveSearch)


def _play(width: int, *, terminal: bool, kind: str = "search") -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=terminal)
    with open_display(console=console) as display:
        for event in search_events(trials=1 if kind == "train" else 12, kind=kind):
            display.on_event(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_one_plain_line_per_event() -> None:
    printed = _play(200, terminal=False)
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert sum(" started" in line for line in lines) == 12
    assert sum("[12/12]" in line for line in lines) == 1
    assert any("t007 failed after 0 epochs (loss of task right is nan at step 12)" in line for line in lines)


def test_a_training_prints_every_epoch() -> None:
    assert _play(100, terminal=False, kind="train").count(" epoch ") >= 4


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["search", "train"])
def test_every_frame_of_the_live_display_fits(width: int, kind: str) -> None:
    console = Console(width=width, height=50, file=io.StringIO(), force_terminal=True)
    live: Any = LiveSearch(console)
    for event in search_events(trials=1 if kind == "train" else 12, kind=kind):
        live._log.feed(event)
        live._record = None
        frame = text(live._render(), width)
        assert max(map(len, frame.splitlines())) <= width


def test_the_live_display_keeps_failures_and_leaves_the_terminal_in_order() -> None:
    printed = _play(100, terminal=True)
    assert "t007 failed" in printed
    assert printed.count("\x1b[?25l") == printed.count("\x1b[?25h") == 1


def test_log_and_file_agree(search: Path) -> None:
    log = SearchLog(search)
    for event in search_events():
        log.feed(event)
    assert log.record() == read_search(search)


def test_remaining_time() -> None:
    assert remaining([], [], 10, 2) is None
    left = remaining([10.0] * 5, [5.0, 5.0], 8, 2)
    assert left is not None
    assert left.expected == pytest.approx((80 + 10) / 2)
    assert left.low == left.high == left.expected
    varied = remaining([5.0, 15.0], [], 4, 1)
    assert varied is not None
    assert 0 <= varied.low < varied.expected == 40 < varied.high


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.6, "1:00"), (65, "1:05"), (7209, "2:00:09")]
)
def test_durations(seconds: float, said: str) -> None:
    assert formats.duration(seconds) == said


def test_headers_are_short_and_distinct() -> None:
    keys = [
        "model.heads.left.hidden",
        "model.heads.right.hidden",
        "training.optimizer.lr",
        "balancing.weights.left",
    ]
    assert list(formats.weight_groups([*keys, "balancing.weights.right"])) == [
        "left.hidden",
        "right.hidden",
        "lr",
        "weights left:right",
    ]


def test_a_header_names_what_is_chosen_and_not_that_it_is_a_kind() -> None:
    keys = ["model.sharing.kind", "model.backbone.name", "model.heads.default.kind", "model.heads.left.kind"]
    assert list(formats.weight_groups(keys)) == ["sharing", "backbone", "heads", "kind"]
    assert (
        formats.brief({"model.sharing.kind": "mmoe", "training.optimizer.lr": 0.003})
        == "sharing mmoe, lr 0.003"
    )
