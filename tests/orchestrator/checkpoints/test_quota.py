"""A quota that never takes what is needed, and `equipoise clean`."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from orchestrator.checkpoints.kept import Checkpoint, checkpoints_of, remove, spared
from orchestrator.checkpoints.quota import Keeper
from orchestrator.cli import app
from orchestrator.report.records import SearchRecord
from orchestrator.report.search_log import SearchLog, read_search
from orchestrator.runs.journal import FILE_NAME
from orchestrator.spec.sections import CheckpointsConfig
from tests.orchestrator.journals import search_events
from trainables.training.state import ModelState, TrainState, load_model_state, load_state, save_state

MB = 10**6


def write(directory: Path, trial: str, kind: str, size: int = MB) -> None:
    folder = directory / "trials" / trial / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.safetensors").write_bytes(bytes(size))


def play(
    directory: Path, config: CheckpointsConfig, *, end: bool = True, watch: Callable[[], None] = lambda: None
) -> SearchRecord:
    """A search whose trials write a model and a state of 1 MB each, event by event, with a keeper."""
    keeper = Keeper(config, directory)
    with (directory / FILE_NAME).open("a") as journal:
        for event in search_events(end=end):
            journal.write(json.dumps(event) + "\n")
            if event["event"] == "epoch":
                write(directory, event["trial"], "best")
                write(directory, event["trial"], "last")
            keeper(event)
            watch()
    return read_search(directory)


def kept(directory: Path) -> set[tuple[str, str]]:
    return {(checkpoint.trial, checkpoint.kind) for checkpoint in checkpoints_of(directory)}


def test_without_a_quota_everything_stays(tmp_path: Path) -> None:
    record = play(tmp_path, CheckpointsConfig())
    trained = {trial.trial for trial in record.trials if trial.epochs}
    assert kept(tmp_path) == {(trial, kind) for trial in trained for kind in ("best", "last")}


def test_keep_best_spares_the_states_of_trials_that_ended(tmp_path: Path) -> None:
    record = play(tmp_path, CheckpointsConfig(keep="best"), end=False)
    live = {trial.trial for trial in record.trials if trial.status == "running" and trial.epochs}
    assert {trial for trial, kind in kept(tmp_path) if kind == "last"} == live


@pytest.mark.parametrize("quota", [1, 3 * MB, 9 * MB, 15 * MB, 1000 * MB])
def test_the_front_and_live_trials_stay_whatever_the_quota(tmp_path: Path, quota: int) -> None:
    log = SearchLog(tmp_path)
    events = iter(search_events())

    def watch() -> None:
        log.feed(next(events))
        record = log.record()
        for trial in record.trials:
            if trial.epochs and (trial.status == "running" or trial.pareto):
                kinds = ("best", "last") if trial.status == "running" else ("best",)
                assert {(trial.trial, kind) for kind in kinds} <= kept(tmp_path)

    record = play(tmp_path, CheckpointsConfig.model_validate({"quota": quota}), watch=watch)
    used = sum(checkpoint.size for checkpoint in checkpoints_of(tmp_path))
    spare = list(spared(record, checkpoints_of(tmp_path)))
    assert used <= quota or not spare, "above the quota only while everything is needed"


def test_states_go_first_then_the_worst_models(tmp_path: Path) -> None:
    record = play(tmp_path, CheckpointsConfig())
    order = list(spared(record, checkpoints_of(tmp_path)))
    kinds = [checkpoint.kind for checkpoint in order]
    assert kinds == sorted(kinds, reverse=True)
    by_name = {trial.trial: trial for trial in record.trials}
    models = [by_name[own.trial] for own in order if own.kind == "best"]
    ranks = [{"failed": 0, "pruned": 1}.get(trial.status, 2) for trial in models]
    assert ranks == sorted(ranks)
    scores = [trial.metrics["score"] for trial in models if trial.status == "completed"]
    assert scores == sorted(scores)
    assert not {own.trial for own in order if own.kind == "best"} & {trial.trial for trial in record.front}


def test_while_another_slot_saves_nothing_of_it_is_taken_and_the_quota_holds_at_each_end(
    tmp_path: Path,
) -> None:
    """Between two ends it may be exceeded: slots do not ask the keeper before they write."""
    over = threading.Event()
    saved = 0
    live = tmp_path / "trials" / "live"

    def save() -> None:
        nonlocal saved
        while not over.is_set():
            saved += 1
            numbers = {"model/weight": torch.full((MB // 4,), float(saved))}
            save_state(TrainState(numbers, {"number": saved}), live / "last")
            save_state(ModelState(numbers, {"number": saved}), live / "best")

    quota = 12 * MB
    keeper = Keeper(CheckpointsConfig.model_validate({"quota": quota}), tmp_path)
    begun, *events = search_events(end=False)
    start = next(event for event in events if event["event"] == "trial_started")
    keeper(begun)
    keeper(start | {"trial": "live", "number": 99})
    saving = threading.Thread(target=save)
    saving.start()
    exceeded = False
    try:
        for event in events:
            if event["event"] == "epoch":
                write(tmp_path, event["trial"], "best")
                write(tmp_path, event["trial"], "last")
                exceeded |= taken(tmp_path) > quota
            keeper(event)
            if event["event"] == "trial_ended":
                assert taken(tmp_path) <= quota
    finally:
        over.set()
        saving.join()
    assert exceeded
    assert saved > 3
    assert load_state(live / "last").meta["number"] == saved
    assert load_model_state(live / "best").meta["number"] == saved


def taken(directory: Path) -> int:
    """Bytes of all checkpoints at this moment."""
    return sum(checkpoint.size for checkpoint in checkpoints_of(directory))


@given(st.lists(st.tuples(st.sampled_from(["best", "last"]), st.integers(0, 11)), unique=True))
def test_nothing_is_spared_twice_or_unless_it_is_there(there: list[tuple[str, int]]) -> None:
    log = SearchLog(Path("somewhere"))
    for event in search_events():
        log.feed(event)
    found = [Checkpoint(f"t{number:03d}", kind, Path(kind), 1) for kind, number in there]
    order = list(spared(log.record(), found))
    assert len({id(own) for own in order}) == len(order)
    assert all(own in found for own in order)


@pytest.mark.parametrize(
    ("written", "size"),
    [("20GB", 20 * 10**9), ("500 MiB", 500 * 2**20), ("1.5 kb", 1500), ("7", 7), (9, 9), (None, None)],
)
def test_sizes_are_written_as_people_write_them(written: str | int | None, size: int | None) -> None:
    assert CheckpointsConfig.model_validate({"quota": written}).quota_bytes == size


def test_removing_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, "t000", "best")
    (checkpoint,) = checkpoints_of(tmp_path)
    assert checkpoint.size == MB
    remove(checkpoint)
    remove(checkpoint)
    assert list((tmp_path / "trials" / "t000").iterdir()) == []


def test_clean_shows_and_frees_only_with_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "equipoise_runs"
    (runs / "digits-pair-001").mkdir(parents=True)
    record = play(runs / "digits-pair-001", CheckpointsConfig())
    before = kept(runs / "digits-pair-001")
    shown = CliRunner().invoke(app, ["clean"])
    assert shown.exit_code == 0, shown.output
    assert "can be freed: add --yes" in shown.output
    assert kept(runs / "digits-pair-001") == before
    assert CliRunner().invoke(app, ["clean", "--yes"]).exit_code == 0
    left = kept(runs / "digits-pair-001")
    assert {trial for trial, kind in left if kind == "best"} >= {trial.trial for trial in record.front}
    assert not any(kind == "last" for _, kind in left if record.status == "completed")
    assert read_search(runs / "digits-pair-001").trials == record.trials, "results stay"
    assert "0.0 MB can be freed" in CliRunner().invoke(app, ["clean"]).output


def test_clean_leaves_alone_what_may_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "equipoise_runs" / "digits-pair-001"
    folder.mkdir(parents=True)
    play(folder, CheckpointsConfig(), end=False)
    before = kept(folder)
    done = CliRunner().invoke(app, ["clean", "--yes"])
    assert "running: may go on" in done.output
    assert kept(folder) == before
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "cache"))
    refused = CliRunner().invoke(app, ["clean", "--cache"])
    assert refused.exit_code == 1
    assert "may be in use" in refused.output + refused.stderr


def test_clean_frees_the_cache_and_nothing_else_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    (cache / "images").mkdir(parents=True)
    (cache / "images" / "x").write_bytes(bytes(10))
    (cache / "mine.txt").touch()
    monkeypatch.setenv("EQUIPOISE_CACHE", str(cache))
    assert CliRunner().invoke(app, ["clean", "--cache", "--yes"]).exit_code == 0
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]


def test_no_runs_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["clean"])
    assert done.exit_code == 2
    assert "there are no runs" in done.output + done.stderr
