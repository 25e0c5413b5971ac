"""A table of images with gaps among its labels, three kinds of tasks, and everything a search can do at once."""

import csv
import json
import random
from pathlib import Path

import pytest
from PIL import Image

from tests.end_to_end.commands import last_line, run

EXPERIMENT = """
name: shapes
seed: 2
data: {source: labels.csv, split: {column: part}}
tasks:
  hue: {type: multiclass, label: hue}
  bright: {type: binary, label: bright, positive: "yes", metric: auroc}
  marks: {type: multilabel, label: marks, separator: "|"}
model: {backbone: {name: small_cnn, width: 8}}
training: {epochs: 4, batch_size: 32, optimizer: {name: adam, lr: 3e-3}, precision: fp32}
search:
  trials: 8
  sampler: tpe
  objectives: [hue.f1, bright.auroc, marks.f1]
  stop_early: {kind: asha, on: hue.loss, reduction: 2}
  space:
    balancing.weights: {simplex: [hue, bright, marks], min: 0.1}
    model.heads.default.kind: {choice: [linear, mlp]}
    model.heads.default.hidden: {choice: [[4], [8, 4]], when: {model.heads.default.kind: mlp}}
    training.optimizer.lr: {log: [1e-4, 1e-1]}
compute: {slots: 1}
"""
HUES = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


def write_table(folder: Path) -> None:
    """96 PNG images of 8×8 pixels, the quarter of each task's labels missing, one image without any."""
    draw = random.Random(5)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "part", "hue", "bright", "marks"])
        for number in range(96):
            hue, bright = draw.choice(list(HUES)), draw.choice(["yes", "no"])
            marks = [mark for mark in ("top", "bottom") if draw.random() < 0.5]
            level = 200 if bright == "yes" else 90
            image = Image.new("RGB", (8, 8), tuple(level * share for share in HUES[hue]))
            for mark in marks:
                image.paste((255, 255, 255), (0, 0, 8, 2) if mark == "top" else (0, 6, 8, 8))
            image.save(folder / f"{number}.png")
            labels = [hue, bright, "|".join(marks)]
            labels = ["" if number == 0 or draw.random() < 0.25 else label for label in labels]
            table.writerow([f"{number}.png", "val" if number % 3 == 2 else "train", *labels])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where such a search has been run."""
    folder = tmp_path_factory.mktemp("table")
    write_table(folder)
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    ending = last_line(
        run(folder, "search", "experiment.yaml", "--json", extra={"EQUIPOISE_CACHE": str(folder / "cache")})
    )
    assert ending["trials"] == 8
    assert ending["pareto"]
    assert ending["hypervolume"] > 0
    return folder


def test_each_trial_is_measured_pruned_with_a_reason_and_without_inactive_keys(folder: Path) -> None:
    trials = json.loads(run(folder, "show", "--format", "json").stdout)
    assert {trial["status"] for trial in trials} == {"completed", "pruned"}
    kinds = set()
    for trial in trials:
        assert {"hue.f1", "hue.loss", "bright.auroc", "marks.f1"} <= set(trial["metrics"])
        assert all(value is not None for value in trial["metrics"].values()), trial
        kind = trial["config"]["model.heads.default.kind"]
        kinds.add(kind)
        assert ("model.heads.default.hidden" in trial["config"]) == (kind == "mlp")
        assert (trial["epochs"] == 4) == (trial["status"] == "completed")
        assert trial["status"] == "completed" or not trial["pareto"]
    assert kinds == {"linear", "mlp"}


def test_pruned_trials_say_why(folder: Path) -> None:
    lines = (folder / "equipoise_runs" / "shapes-001" / "journal.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    reasons = [event["reason"] for event in events if event.get("status") == "pruned"]
    assert reasons
    assert all("hue.loss" in reason for reason in reasons), reasons


def test_labels_are_counted_as_they_are(folder: Path) -> None:
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    done = run(folder, "check", "experiment.yaml", "--json", extra={"EQUIPOISE_CACHE": str(folder / "cache")})
    assert done.returncode == 0, done.stderr
    first = json.loads(
        (folder / "equipoise_runs" / "shapes-001" / "journal.jsonl").read_text().splitlines()[0]
    )
    for task in ("hue", "bright", "marks"):
        for part in ("train", "val"):
            expected = sum(row["part"] == part and row[task] != "" for row in rows)
            assert first["data"]["labels"][task][part] == expected
    assert first["data"]["splits"]["train"] == 64
