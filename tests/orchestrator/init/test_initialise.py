"""`init`: what it guesses, and that what it writes passes `check`."""

import csv
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from orchestrator.check.run import check_experiment
from orchestrator.errors import ConfigError
from orchestrator.init.run import initialise
from orchestrator.spec import load_spec
from orchestrator.spec.sections import ExperimentSpec
from trainables.config.data import SplitColumn
from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask
from trainables.errors import DataError

COUNT = 90


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / ".cache"))
    return tmp_path


def draw(folder: Path, size: tuple[int, int] = (12, 12), count: int = COUNT) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (number, 2 * number, 255 - number)).save(folder / f"{number}.png")


def columns() -> dict[str, list[Any]]:
    """One column of every kind."""
    chance = random.Random(0)
    return {
        "path": [f"{number}.png" for number in range(COUNT)],
        "product_id": [f"p{number // 3}" for number in range(COUNT)],
        "color": [chance.choice(["red", "green", "blue"]) for _ in range(COUNT)],
        "tags": [
            "|".join(sorted(chance.sample(["a", "b", "c"], chance.randint(1, 2)))) for _ in range(COUNT)
        ],
        "in stock": [chance.choice(["yes", "no"]) for _ in range(COUNT)],
        "price": [round(chance.random() * 100, 2) for _ in range(COUNT)],
        "rating": [chance.choice([1, 2, 3, -1]) for _ in range(COUNT)],
        "note": [f"a longer text, with commas, on number {number}" for number in range(COUNT)],
        "season": [chance.choice(["summer", "winter", "spring", "?"]) for _ in range(COUNT)],
        "made_in": ["here"] * COUNT,
        "score": [chance.choice(["low", "mid", "high"]) for _ in range(COUNT)],
    }


def write(file: str, table: dict[str, list[Any]]) -> None:
    with Path(file).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def made(*sources: str, output: str = "experiment.yaml") -> ExperimentSpec:
    text = initialise(sources, Path(output))
    assert f"equipoise check {output}" in text
    report = check_experiment(output)
    assert report.exit_code == 0, report.problems
    return load_spec(output)


def test_a_table_of_every_kind_of_column() -> None:
    draw(Path("photos/small"))
    write("labels.csv", columns())
    spec = made("labels.csv")
    assert spec.name == "labels"
    assert spec.data.image == "path"
    assert spec.data.root == "photos/small"
    assert spec.data.image_size == 12
    assert set(spec.tasks) == {"color", "tags", "in_stock", "rating", "season", "score_label"}
    assert isinstance(spec.tasks["color"], MulticlassTask)
    tags = spec.tasks["tags"]
    assert isinstance(tags, MultilabelTask)
    assert tags.separator == "|"
    stock = spec.tasks["in_stock"]
    assert isinstance(stock, BinaryTask)
    assert stock.positive == "yes"
    assert {"", "-1", "?"} <= set(spec.data.missing)
    text = Path("experiment.yaml").read_text()
    assert "group: product_id" in text
    assert "`equipoise schema`" in text
    for name in ("price", "note", "made_in"):
        assert f"# {name} is no task: " in text


def test_what_is_guessed_is_said() -> None:
    draw(Path("images"))
    write("labels.csv", columns())
    said = initialise(["labels.csv"], Path("experiment.yaml"))
    for part in (
        "task color: multiclass",
        "task in_stock: binary",
        "product_id may be a group",
        "price left out",
    ):
        assert part in said


def test_a_split_column_and_the_folder_of_the_output() -> None:
    draw(Path("data/images"))
    table = columns()
    table["path"] = [f"images/{name}" for name in table["path"]]
    table["subset"] = [("train", "valid", "test")[number % 3] for number in range(COUNT)]
    Path("experiments").mkdir()
    write("data/labels.csv", table)
    spec = made("data/labels.csv", output="experiments/first.yaml")
    assert spec.data.source == "../data/labels.csv"
    assert spec.data.root is None
    assert spec.data.split == SplitColumn(column="subset")


def test_a_parquet_table_of_encoded_images() -> None:
    draw(Path("images"))
    table = columns()
    table["path"] = [Path(f"images/{number}.png").read_bytes() for number in range(COUNT)]
    table["tags"] = [tags.split("|") for tags in table["tags"]]
    pd.DataFrame(table).rename(columns={"path": "photo"}).to_parquet("labels.parquet")
    spec = made("labels.parquet")
    assert spec.data.image == "photo"
    assert isinstance(spec.tasks["tags"], MultilabelTask)


def test_folders_joined_by_name() -> None:
    for number in range(COUNT):
        color, shape = ("red", "blue")[number % 2], ("round", "square", "long")[number % 3]
        for tree, kind in (("by_color", color), ("by_shape", shape)):
            Path(tree, kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(Path(tree, kind, f"{number}.png"))
    spec = made("color=by_color", "shape=by_shape")
    assert spec.data.source == {"color": "by_color", "shape": "by_shape"}
    assert set(spec.tasks) == {"color", "shape"}
    assert set(made("by_shape", output="one.yaml").tasks) == {"label"}


def test_the_builtin() -> None:
    assert set(made("builtin:digits-pair").tasks) == {"left", "right"}


def test_large_images_of_several_sizes_are_scaled_down() -> None:
    draw(Path("images"), size=(150, 140), count=45)
    for number in range(45, COUNT):
        Image.new("RGB", (140, 180), (number, 0, 0)).save(f"images/{number}.png")
    write("labels.csv", columns())
    initialise(["labels.csv"], Path("experiment.yaml"))
    assert load_spec("experiment.yaml").data.image_size == 128


def test_a_class_too_rare_to_split_does_not_become_a_failing_file() -> None:
    draw(Path("images"))
    table = columns()
    table["rare"] = ["one", "two", *["many", "more"] * ((COUNT - 2) // 2)]
    write("labels.csv", table)
    made("labels.csv")


def test_nothing_to_learn_is_an_error_and_writes_nothing() -> None:
    draw(Path("images"))
    write("labels.csv", {"path": columns()["path"], "price": columns()["price"]})
    with pytest.raises(DataError, match="no column that could be a label"):
        initialise(["labels.csv"], Path("experiment.yaml"))
    assert not Path("experiment.yaml").exists()


def test_an_existing_file_is_replaced_only_by_force() -> None:
    Path("experiment.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        initialise(["builtin:digits-pair"], Path("experiment.yaml"))
    assert Path("experiment.yaml").read_text() == "mine"
    initialise(["builtin:digits-pair"], Path("experiment.yaml"), force=True)
    assert load_spec("experiment.yaml").name == "digits-pair"
    assert [path.name for path in Path().iterdir() if path.is_file()] == ["experiment.yaml"]
