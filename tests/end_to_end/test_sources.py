"""A search over two sources of different kinds, and over how they are mixed."""

import csv
import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from PIL import Image

from tests.end_to_end.commands import last_line, run

EXPERIMENT = """
name: mixed
seed: 2
data:
  sources:
    - {name: shades, source: shades, tasks: [shade]}
    - {name: signs, source: signs.csv, tasks: {sign: corner}, split: {train: 0.6, val: 0.2, test: 0.2}}
  image_size: 10
tasks:
  shade: {type: multiclass, label: label}
  sign: {type: binary, label: sign}
model: {backbone: {name: small_cnn, width: 8}}
training: {epochs: 2, batch_size: 16, precision: fp32}
search:
  trials: 3
  sampler: grid
  space:
    data.mixing: {choice: [proportional, uniform, {shades: 1, signs: 3}]}
compute: {slots: 1}
"""


def write_sources(folder: Path) -> None:
    """A tree of 30 grey images in three classes, and a table of 60 RGB images that are larger."""
    for number in range(30):
        tree = folder / "shades" / ("black", "grey", "white")[number % 3]
        tree.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 100 * (number % 3) + number).save(tree / f"{number}.png")
    with (folder / "signs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "corner"])
        for number in range(60):
            image = Image.new("RGB", (12, 12), (4 * number, 0, 99))
            image.paste((255, 255, 255), (0, 0, 5, 5) if number % 2 else (7, 7, 12, 12))
            image.save(folder / f"{number}.png")
            table.writerow([f"{number}.png", ("bottom", "top")[number % 2]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where such a search has been run."""
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder)
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    ending = last_line(
        run(folder, "search", "experiment.yaml", "--json", extra={"EQUIPOISE_CACHE": str(folder / "cache")})
    )
    assert ending["trials"] == 3
    return folder


def events(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "equipoise_runs" / "mixed-001" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_images_are_decoded_once_for_all_mixtures(folder: Path) -> None:
    assert len(list((folder / "cache" / "images").iterdir())) == 2
    assert len(list((folder / "cache" / "prepared").iterdir())) == 1


def test_the_journal_knows_the_sources(folder: Path) -> None:
    (started,) = (event for event in events(folder) if event["event"] == "search_started")
    assert started["data"]["sources"] == {
        "shades": {"train": 24, "val": 3, "test": 3},
        "signs": {"train": 36, "val": 12, "test": 12},
    }
    assert started["data"]["image"] == [3, 10, 10]


def test_labels_seen_follow_the_mixing_of_each_trial(folder: Path) -> None:
    mixing = {e["trial"]: e["config"]["data.mixing"] for e in events(folder) if e["event"] == "trial_started"}
    seen = {
        json.dumps(mixing[event["trial"]]): [
            event["report"]["training"][f"{task}.labels_seen"] for task in ("shade", "sign")
        ]
        for event in events(folder)
        if event["event"] == "epoch"
    }
    assert seen == {
        '"proportional"': [24, 36],
        '"uniform"': [30, 30],
        '{"shades": 1, "signs": 3}': [15, 45],
    }


def inputs_of(run: Any) -> list[Any]:
    return list(run.inputs.dataset_inputs)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's
def test_mlflow_knows_sources_and_mixing(folder: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (experiment,) = (found for found in client.search_experiments() if found.name == "mixed")
    runs = client.search_runs([experiment.experiment_id])
    trials = [found for found in runs if found.data.tags["equipoise.kind"] == "trial"]
    assert {found.data.params["data.mixing"] for found in trials} == {
        "proportional",
        "uniform",
        '{"shades":1.0,"signs":3.0}',
    }
    assert {item.dataset.name for found in trials for item in inputs_of(found)} == {"shades+signs"}


def test_check_counts_each_source(folder: Path) -> None:
    done = run(folder, "check", "experiment.yaml", extra={"EQUIPOISE_CACHE": str(folder / "cache")})
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["source", "train", "val", "test", "labels"] in lines
    assert ["shades", "24", "3", "3", "shade", "30"] in lines
    assert ["signs", "36", "12", "12", "sign", "60"] in lines
