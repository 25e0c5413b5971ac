"""The power fails: what was acknowledged is still there, and whatever else is there can be read and is true."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.launch.node_checks import marked
from orchestrator.machines.connection import RayAddress
from orchestrator.report.search_log import read_search
from orchestrator.resuming.resumption import resume
from orchestrator.runs import folder
from orchestrator.runs.journal import FILE_NAME, Event, Journal, read_journal
from orchestrator.slots import trial_run
from orchestrator.spec import ExperimentSpec, load_spec
from orchestrator.training_run import train
from tests.power import Disk
from trainables.data.prepare import prepare_data
from trainables.data.prepared import load_prepared
from trainables.errors import DataError
from trainables.training.predictions import Predictions
from trainables.training.state import TrainState, load_model_state, load_state, save_state

EXPERIMENT = """
name: pairs
data: {source: labels.csv, image: path}
tasks: {shade: {type: multiclass, label: shade}, side: {type: multiclass, label: side}}
model: {backbone: {name: small_cnn, width: 4}}
training: {epochs: 3, batch_size: 8}
compute: {workers: 1}
"""


@pytest.fixture
def spec(tmp_path: Path) -> ExperimentSpec:
    """An experiment on 40 small pictures, on a disk that loses nothing."""
    place = tmp_path / "pictures"
    place.mkdir()
    draw = np.random.default_rng(0)
    lines = ["path,shade,side"]
    for number in range(40):
        pixels = draw.integers(0, 100, (8, 8, 3), dtype=np.uint8) + np.uint8(100 * (number % 2))
        Image.fromarray(pixels).save(place / f"{number}.png")
        lines.append(f"{number}.png,{'dl'[number % 2]},{'lr'[number // 2 % 2]}")
    (place / "labels.csv").write_text("\n".join(lines))
    (place / "experiment.yaml").write_text(EXPERIMENT)
    return load_spec(place / "experiment.yaml", [f"tracking.storage={tmp_path}/disk/far/runs"])


def events_left(run: Path) -> list[Event]:
    return list(read_journal(run)) if (run / FILE_NAME).exists() else []


def test_an_event_that_was_acknowledged_is_there(failing_disk: Disk) -> None:
    acknowledged: list[Event] = []

    def survives(left: Path) -> None:
        found = events_left(left / "run")
        assert found[: len(acknowledged)] == acknowledged
        assert len(found) <= len(acknowledged) + 1

    failing_disk.survives = survives
    run = failing_disk.root / "run"
    run.mkdir()
    with Journal(run) as journal:
        for number in range(3):
            acknowledged.append(journal.append("epoch", n=number))
            failing_disk.look()
    assert failing_disk.moments > 10


def test_what_a_killed_process_had_written_is_there_when_the_next_one_builds_on_it(
    failing_disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = failing_disk.root / "run"
    run.mkdir()

    def dies(_: int) -> None:
        raise SystemExit

    with Journal(run) as journal:
        first = journal.append("epoch", n=0)
        with monkeypatch.context() as patched, contextlib.suppress(SystemExit):
            patched.setattr(os, "fdatasync", dies)
            journal.append("epoch", n=1)
    seen = events_left(run)
    assert len(seen) == 2
    assert events_left(failing_disk.leave("least") / "run") == [first]
    with Journal(run):
        assert events_left(failing_disk.leave("least") / "run") == seen


def test_a_state_is_the_old_one_or_the_new_one_and_the_new_one_once_it_was_saved(failing_disk: Disk) -> None:
    place = failing_disk.root / "run" / "trials" / "t000" / "last"
    saved = 0

    def survives(left: Path) -> None:
        there = left / place.relative_to(failing_disk.root)
        if not there.exists():
            assert saved == 0
            return
        state = load_state(there)
        assert saved <= state.meta["epoch"] <= saved + 1
        assert torch.equal(state.tensors["x"], torch.full((3,), state.meta["epoch"]))

    failing_disk.survives = survives
    for epoch in (1, 2, 3):
        save_state(TrainState({"x": torch.full((3,), epoch)}, {"epoch": epoch}), place)
        saved = epoch
        failing_disk.look()


def test_decoded_images_are_all_there_or_none(
    failing_disk: Disk, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = failing_disk.root / "cache"
    monkeypatch.setenv("EQUIPOISE_CACHE", str(cache))
    found: list[Any] = []

    def survives(left: Path) -> None:
        for place in (left / "cache" / "prepared").glob("[!.]*"):
            with contextlib.suppress(DataError):  # decoded again
                found.append((place, np.array(load_prepared(place).images), load_prepared(place).labels))

    failing_disk.survives = survives
    truth = prepare_data(spec.data, spec.tasks, seed=0, base=spec.folder)
    failing_disk.look()
    assert found
    for place, images, labels in found:
        np.testing.assert_array_equal(images, truth.images, str(place))
        for task, own in labels.items():
            np.testing.assert_array_equal(own.values, truth.labels[task].values, str(place))
            np.testing.assert_array_equal(own.present, truth.labels[task].present, str(place))


def test_a_folder_that_the_check_of_nodes_has_made_keeps_its_runs(failing_disk: Disk) -> None:
    storage = failing_disk.root / "far" / "runs"
    with marked(storage):
        (storage / "pairs-001").mkdir()
    with Journal(storage / "pairs-001") as journal:
        told = journal.append("search_started", search_id="pairs-001")

        def survives(left: Path) -> None:
            assert events_left(left / "far" / "runs" / "pairs-001") == [told]

        failing_disk.survives = survives
        failing_disk.look()


class NoWriter:
    """Of MLflow's writer, which is another process and has a test of its own."""

    def finish(self, _: float) -> None:
        """Nothing was told."""


def test_a_training_whose_power_fails_is_resumed_to_the_same_end(
    failing_disk: Disk, spec: ExperimentSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it showed stays; a state is never ahead of the journal, the selected model never behind a state."""
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folder, "start_writer", lambda _: NoWriter())
    # In this process, on whose disk we look, also where it is connected to a Ray.
    monkeypatch.setattr(RayAddress, "from_environment", classmethod(lambda cls: cls()))
    monkeypatch.setattr(trial_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(trial_run, "LARGEST_SHARE", 1e9)
    shown: list[Event] = []
    mid_way: list[Path] = []

    def survives(left: Path) -> None:
        run = left / "far" / "runs" / "pairs-train-001"
        events = events_left(run)
        told = [event for event in shown if event["event"] != "decoding"]
        assert events[: len(told)] == told
        epochs = [event["report"] for event in events if event["event"] == "epoch"]
        best = max((report["epoch"] for report in epochs if report["best"]), default=0)
        trial = run / "trials" / "t000"
        if (trial / "last").exists():
            epoch = load_state(trial / "last").meta["epoch"]
            assert epoch <= len(epochs)
            assert load_model_state(trial / "best").meta["epoch"] >= max(
                report["epoch"] for report in epochs[:epoch] if report["best"]
            )
            mid_way.append(run)
        if best:
            assert load_model_state(trial / "best").meta["epoch"] >= best
            assert Predictions.load(trial / "best").epoch >= best

    failing_disk.survives = survives
    undisturbed = train(spec, listeners=(shown.append,))
    failing_disk.look()
    failing_disk.survives = lambda _: None
    expected = [report["metrics"] for report in undisturbed.trials[0].reports]
    assert len(expected) == 3
    for run in (mid_way[0], mid_way[len(mid_way) // 2]):
        resumed = resume(run)
        assert [report["metrics"] for report in resumed.trials[0].reports] == expected
        assert read_search(run).status == "completed"
