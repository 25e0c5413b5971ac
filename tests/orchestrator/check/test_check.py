"""`check`: what it reports, and what it costs."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from orchestrator.check.run import check_experiment, print_report

if TYPE_CHECKING:
    from torch import nn

ROOT = Path(__file__).parents[3]
SIMPLEX = "search.space={balancing.weights: {simplex: [shade, half]}}"
DEMO = ROOT / "examples" / "digits_pair.yaml"


def needs_large_images(channels: int, image_size: tuple[int, int]) -> "nn.Module":
    """A backbone of the user's."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(channels, 2, 11, stride=4), nn.Flatten())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """An experiment over 24 images, half of them without a label of one task; two are one picture."""
    (tmp_path / "images").mkdir()
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "shade", "half", "split"])
        for number in range(24):
            Image.new("L", (10, 10), 10 * (number if number != 23 else 0)).save(
                tmp_path / f"images/{number}.png"
            )
            split = "train" if number < 12 else "val" if number < 18 else "test"
            writer.writerow(
                [
                    f"{number}.png",
                    "dark" if number % 2 else "light",
                    "ab"[number // 4 % 2] * (number % 4 > 1),
                    split,
                ]
            )
    file = tmp_path / "experiment.yaml"
    file.write_text(
        "name: shades\n"
        "data: {source: labels.csv, root: images, split: {column: split}}\n"
        "tasks:\n"
        "  shade: {type: binary, label: shade, positive: dark}\n"
        "  half: {type: multilabel, label: half}\n"
    )
    return file


def test_the_demo_passes_and_everything_is_counted() -> None:
    report = check_experiment(DEMO)
    assert report.exit_code == 0
    assert {problem.severity for problem in report.problems} <= {"note"}
    assert report.examples == {"train": 12_000, "val": 2_000, "test": 4_000}
    assert report.image_shape == (1, 12, 12)
    assert report.parameters is not None
    assert report.parameters > 1000
    assert report.searched == ("balancing.weights", "model.backbone.width", "training.optimizer.lr")
    for task in report.tasks.values():
        assert task.labelled == report.examples
        assert task.missing == {"train": 0, "val": 0, "test": 0}
        assert len(task.classes) == 10


def test_missing_labels_are_counted_and_no_image_is_lost(table: Path) -> None:
    report = check_experiment(table)
    assert report.exit_code == 0
    assert report.examples == {"train": 12, "val": 6, "test": 6}
    half = report.tasks["half"]
    assert sum(half.missing.values()) == 12
    assert {split: half.labelled[split] + half.missing[split] for split in half.labelled} == report.examples


def test_one_picture_in_two_splits_is_a_warning(table: Path) -> None:
    warnings = [problem for problem in check_experiment(table).problems if problem.severity == "warning"]
    assert any("both the train and the test split" in problem.message for problem in warnings)
    assert all(problem.place.startswith(f"{table}:2:") for problem in warnings if problem.key == "data.split")


def test_every_unreadable_image_and_every_duplicate_is_named(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (table.parent / "labels.csv").open("a") as stream:
        stream.writelines(f"broken{number}.png,dark,a,train\n" for number in range(23))
    for number in range(23):
        (table.parent / f"images/broken{number}.png").write_bytes(b"no image")
    report = check_experiment(table, ["data.unreadable=drop"])
    assert report.exit_code == 0
    assert ["broken" in place and reason != "" for place, reason in report.unreadable] == [True] * 23
    ((train, test),) = [(found["train"], found["test"]) for found in report.duplicates]
    assert ["0.png" in train[0], "23.png" in test[0]] == [True, True]

    print_report(report)
    lines = capsys.readouterr().out.splitlines()
    begin = lines.index("cannot be read:")
    assert lines[begin + 1 : begin + 21] == [f"  {place}: {why}" for place, why in report.unreadable[:20]]
    assert lines[begin + 21] == "  … and 3 more"
    assert lines[begin + 22 : begin + 24] == [
        "the same picture in several splits:",
        f"  train: {train[0]}; test: {test[0]}",
    ]

    print_report(report, as_json=True)
    event = json.loads(capsys.readouterr().out)
    assert len(event["unreadable"]) == 23
    assert event["duplicates"] == [{"train": [*train], "test": [*test]}]


def test_all_data_errors_come_at_once_with_their_place(table: Path) -> None:
    table.write_text(
        table.read_text().replace("label: shade", "label: shadow").replace("label: half", "label: hlaf")
    )
    report = check_experiment(table)
    assert report.exit_code == 3
    assert [problem.key for problem in report.errors] == ["tasks.shade.label", "tasks.half.label"]
    assert [problem.place for problem in report.errors] == [f"{table}:4:32", f"{table}:5:35"]


def test_images_too_small_for_a_model_are_an_error_of_the_file(table: Path) -> None:
    report = check_experiment(table, [f"model.backbone={__name__}:needs_large_images"])
    assert report.exit_code == 2
    assert [problem.part for problem in report.errors] == ["model"]
    assert "10×10" in report.errors[0].message


def test_backbones_that_are_searched_are_tried_too(table: Path) -> None:
    own = f"{__name__}:needs_large_images"
    report = check_experiment(table, [f"search.space={{model.backbone: {{choice: [lenet, '{own}']}}}}"])
    assert [problem.key for problem in report.errors] == ["search.space.model.backbone.choice.1"]
    assert "10×10" in report.errors[0].message


def test_config_only_leaves_data_and_model_alone(table: Path) -> None:
    report = check_experiment(table, ["data.source=nowhere.csv"], config_only=True)
    assert report.exit_code == 0
    assert report.examples == {}
    assert report.parameters is None


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([SIMPLEX], None),
        (["tasks.third={type: binary, label: split}", SIMPLEX], "leaves out third"),
        (["search={sampler: grid, trials: 2, space: {training.epochs: {choice: [1, 2, 3]}}}"], "3 points"),
        (["training.epochs=3", "search.stop_early={min_epochs: 3}"], "no trial can be stopped early"),
    ],
)
def test_what_is_probably_not_meant(table: Path, overrides: list[str], says: str | None) -> None:
    problems = check_experiment(table, overrides, config_only=True).problems
    warnings = [problem.message for problem in problems if problem.severity == "warning"]
    assert [says in message for message in warnings] == ([True] if says else []) if says else warnings == []


def test_stages_that_a_search_names_are_looked_for(table: Path) -> None:
    overrides = [
        "model.sharing={kind: mmoe}",
        "search.space={model.sharing.at: {choice: [2, conv9]}}",
    ]
    (problem,) = (p for p in check_experiment(table, overrides).problems if p.severity == "error")
    assert "no stage 'conv9'" in problem.message
    assert "1 conv1, 2 conv2, 3 shared" in problem.hint
    (problem,) = (
        p
        for p in check_experiment(table, ["model.heads={default: {tap: 7}}"]).problems
        if p.severity == "error"
    )
    assert problem.key == "model.heads.default.tap"


def test_json_is_one_line_and_whole(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(check_experiment(table), as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event["event"] == "check_finished"
    assert event["exit_code"] == 0
    assert event["tasks"]["half"]["labelled"]["train"] == 6


def test_the_table_shows_tasks_splits_and_what_is_missing(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(check_experiment(table))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["task", "type", "classes", "train", "val", "test", "no", "label"]
    assert lines[2].split() == ["half", "multilabel", "2", "6", "2", "4", "12"]


def test_config_only_imports_nothing_heavy() -> None:
    """Python's own time, its packages' included, is what `check --config-only` takes."""
    code = (
        "import sys; from orchestrator.check.run import check_experiment;"
        f"check_experiment({str(ROOT / 'examples/table.yaml')!r}, config_only=True);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    heavy = {
        "torch",
        "torchvision",
        "pandas",
        "pyarrow",
        "ray",
        "mlflow",
        "optuna",
        "sklearn",
        "numpy",
        "PIL",
    }
    assert not heavy & set(loaded.stdout.split())


SHALLOW = ["model.heads={default: {tap: 1}}", "model.sharing={kind: ple, at: 0, levels: 2}"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([*SHALLOW, "balancing={method: mgda}"], "mgda .* nothing shared"),
        ([*SHALLOW, "balancing={method: gradnorm}"], "gradnorm .* nothing shared"),
        ([*SHALLOW, "balancing={method: uncertainty}"], None),
        (["model.sharing={kind: ple, at: 0, levels: 2}", "balancing={method: mgda}"], None),
        (["model.sharing={kind: cross_stitch}", "balancing={method: mgda}"], None),
        (
            [*SHALLOW, "balancing={method: mgda}", "search.space={balancing: {choice: [{method: famo}]}}"],
            None,
        ),
    ],
)
def test_what_only_the_model_knows_of_its_balancing(
    table: Path, overrides: list[str], says: str | None
) -> None:
    frozen = "training.optimizer.backbone_lr_factor=0"
    errors = check_experiment(table, [*overrides, frozen]).errors
    assert [problem.key for problem in errors] == (["balancing.method"] if says else [])
    assert says is None or re.search(says, errors[0].message)


def test_a_key_is_said_once(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(check_experiment(table, ["model.heads={default: {tap: 7}}"]))
    assert capsys.readouterr().out.count("model.heads.default.tap:") == 1


def test_weights_that_a_search_names_are_loaded(table: Path) -> None:
    report = check_experiment(table, ["search.space={model.weights: {choice: [null, none.safetensors]}}"])
    (problem,) = report.errors
    assert problem.key == "search.space.model.weights.choice.1"
    assert "none.safetensors are not there" in problem.message
