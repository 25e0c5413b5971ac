"""Every way in which data can be wrong: one clear message, which says where and what to do."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.trainables.data.pictures import ALL, COLOR, config, pixels, save, table, write_csv
from trainables.config.data import DataConfig
from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask, TaskConfig
from trainables.data.prepare import prepare_data
from trainables.errors import DataError


def nothing(folder: Path) -> None:
    del folder


def bomb(folder: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(folder / "images" / "0004.png")


def truncated(folder: Path) -> None:
    file = folder / "images" / "0004.png"
    file.write_bytes(file.read_bytes()[:150])


def outside(folder: Path) -> None:
    save(folder.parent, [f"outside-{folder.name}.png"])


def linked_outside(folder: Path) -> None:
    outside(folder)
    (folder / "images" / "0004.png").unlink()
    (folder / "images" / "0004.png").symlink_to(folder.parent / f"outside-{folder.name}.png")


def linked_folder_outside(folder: Path) -> None:
    save(folder.parent / f"away-{folder.name}", ["1.png"])
    (folder / "away").symlink_to(folder.parent / f"away-{folder.name}")
    only(folder, "away/1.png")


def only(folder: Path, path: str) -> None:
    """A table of this one image."""
    write_csv(folder / "labels.csv", {"path": [path], "color": ["red"]})


def first_cell_empty(folder: Path) -> None:
    names = ["", *(f"images/{n:04d}.png" for n in range(59))]
    write_csv(folder / "labels.csv", {"path": names, "color": ["red", "blue"] * 30})


def with_parts(name: str, cells: Callable[[int], str]) -> Callable[[Path], object]:
    """Columns of this name and `part`, which splits every five rows into val, test and three train."""
    part, further = [parts(n) for n in range(60)], [cells(n) for n in range(60)]
    return lambda folder: table(folder, 60, **{"part": part, name: further})


def with_column(name: str, cells: Callable[[int], str]) -> Callable[[Path], object]:
    return lambda folder: table(folder, 60, **{name: [cells(n) for n in range(60)]})


def with_text(text: str | bytes) -> Callable[[Path], object]:
    content = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / "labels.csv").write_bytes(content)


def other_size(folder: Path) -> None:
    Image.fromarray(pixels(5, 9)).save(folder / "images" / "0004.png")


def parts(n: int) -> str:
    return ("val", "test", "train", "train", "train")[n % 5]


@dataclass(frozen=True)
class Case:
    """`change` made to a good table, and config that is then wrong; the key and words of the message."""

    key: str
    says: tuple[str, ...]
    change: Callable[[Path], object] = nothing
    data: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, TaskConfig] = field(default_factory=lambda: ALL)


def one(task: TaskConfig) -> dict[str, TaskConfig]:
    return {"t": task}


CASES: dict[str, Case] = {
    "no such table": Case("data.source", ("lables.csv", "'labels.csv'"), data={"source": "lables.csv"}),
    "no such folder": Case("data.source", ("photos", "builtin:digits-pair"), data={"source": "photos"}),
    "no such builtin": Case("data.source", ("digits-pair",), data={"source": "builtin:digits"}),
    "no image column": Case("data.image", ("'file'", "path, color"), data={"image": "file"}),
    "no label column": Case(
        "tasks.t.label", ("'colour'", "path, color", "'color'?"), tasks=one(MulticlassTask(label="colour"))
    ),
    "no group column": Case("data.split.group", ("'person'",), data={"split": {"group": "person"}}),
    "no split column": Case("data.split.column", ("'part'",), data={"split": {"column": "part"}}),
    "no keep column": Case("data.keep.year", ("'year'",), data={"keep": {"year": [2000]}}),
    "keep leaves nothing": Case("data.keep.color", ("color", "'red'"), data={"keep": {"color": ["violet"]}}),
    "one class": Case(
        "tasks.t.label",
        ("'metal'", "'m'"),
        with_column("metal", lambda n: "m" if n % 2 else ""),
        tasks=one(MulticlassTask(label="metal")),
    ),
    "one class, binary": Case(
        "tasks.t.label",
        ("'metal'", "'1'"),
        with_column("metal", lambda _: "1"),
        tasks=one(BinaryTask(label="metal")),
    ),
    "no labels": Case(
        "tasks.t.label",
        ("no labelled example", "train"),
        with_column("metal", lambda _: "NA"),
        tasks=one(MulticlassTask(label="metal")),
    ),
    "no tags": Case(
        "tasks.t.label",
        ("no labelled example", "train"),
        with_column("metal", lambda _: ""),
        tasks=one(MultilabelTask(label="metal")),
    ),
    "no validation labels": Case(
        "tasks.t.label",
        ("no labelled example", "val"),
        with_parts("metal", lambda n: "" if n % 5 == 0 else str(n % 2)),
        {"split": {"column": "part"}},
        one(MulticlassTask(label="metal")),
    ),
    "undeclared class": Case(
        "tasks.t.classes",
        ("'blue'", "'red', 'green'"),
        tasks=one(MulticlassTask(label="color", classes=("red", "green"))),
    ),
    "undeclared tag": Case(
        "tasks.t.classes", ("'dog'",), tasks=one(MultilabelTask(label="tags", classes=("cat",)))
    ),
    "class declared twice": Case(
        "tasks.t.classes", ("'1'", "twice"), tasks=one(MulticlassTask(label="logo", classes=(0, 1, "1")))
    ),
    "class of no training example": Case(
        "tasks.t.classes",
        ("'late'", "val"),
        with_parts("metal", lambda n: "late" if n == 5 else str(n // 5 % 2)),
        {"split": {"column": "part"}},
        one(MulticlassTask(label="metal")),
    ),
    "weights of no class": Case(
        "tasks.t.class_weights",
        ("'pink'", "'red'"),
        tasks=one(MulticlassTask(label="color", class_weights={"pink": 2.0})),
    ),
    "three values, binary": Case(
        "tasks.t.positive", ("3 values", "'red'"), tasks=one(BinaryTask(label="color"))
    ),
    "no positive": Case(
        "tasks.t.positive", ("'pink'", "'red'"), tasks=one(BinaryTask(label="color", positive="pink"))
    ),
    "not a split": Case(
        "data.split.column",
        ("'holdout'", "train, val, test"),
        with_column("part", lambda n: "holdout" if n == 9 else parts(n)),
        {"split": {"column": "part"}},
    ),
    "empty split cell": Case(
        "data.split.column",
        ("line 11",),
        with_column("part", lambda n: "" if n == 9 else parts(n)),
        {"split": {"column": "part"}},
    ),
    "no validation split": Case(
        "data.split",
        ("val split", "empty"),
        with_column("part", lambda n: "train" if n % 2 else "test"),
        {"split": {"column": "part"}},
    ),
    "groups too large": Case(
        "data.split", ("empty",), with_column("one", lambda _: "same"), {"split": {"group": "one"}}
    ),
    "path outside": Case(
        "data.root",
        ("line 2", "outside"),
        lambda folder: only(folder, "../elsewhere.png"),
    ),
    "absolute path outside": Case(
        "data.root",
        ("line 2", "outside", "data.root"),
        lambda folder: only(folder, "/etc/hostname"),
    ),
    "file URI outside": Case(
        "data.root",
        ("line 2", "outside"),
        lambda folder: only(folder, "file:///etc/hostname"),
    ),
    "link outside": Case("data.root", ("line 6", "0004.png", "outside"), linked_outside),
    "linked folder outside": Case("data.root", ("line 2", "outside"), linked_folder_outside),
    "kind of URI": Case(
        "data.image",
        ("line 2", "ftp", "https"),
        lambda folder: only(folder, "ftp://host/1.png"),
    ),
    "no root": Case("data.root", ("nowhere",), data={"root": "nowhere"}),
    "truncated image": Case(
        "data.unreadable", ("1 of 60", "line 6", "images/0004.png", "truncated", "drop"), truncated
    ),
    "bomb": Case("data.unreadable", ("10000 × 10000", "data.max_pixels", "line 6"), bomb, {"image_size": 8}),
    "empty cell": Case(
        "data.unreadable",
        ("line 2", "empty"),
        first_cell_empty,
        tasks=COLOR,
    ),
    "all images missing": Case(
        "data.image",
        ("no such file", "data.root"),
        lambda folder: (folder / "images").rename(folder / "x"),
    ),
    "several sizes": Case("data.image_size", ("5 × 9", "8 × 8", "image_size: 64"), other_size),
    "not UTF-8": Case("data.source", ("line 2", "UTF-8"), with_text(b"path,color\n\xe9.png,red\n")),
    "cells do not fit": Case("data.source", ("line 3", "3 cells"), with_text("path,color\na,b\na,b,c\n")),
    "no rows": Case("data.source", ("no rows",), with_text("path,color\n")),
    "nothing": Case("data.source", ("no rows",), with_text("")),
    "column twice": Case("data.source", ("'color'", "twice"), with_text("path,color,color\na,b,c\n")),
    "open quotes": Case("data.source", ("line", "CSV"), with_text('path,color\n"a,b\n')),
    "not Parquet": Case(
        "data.source",
        ("Parquet",),
        lambda folder: (folder / "labels.parquet").write_bytes(b"PAR1 no"),
        {"source": "labels.parquet"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_table(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    table(tmp_path)
    case.change(tmp_path)
    with pytest.raises(DataError) as caught:
        prepare_data(config(tmp_path, **case.data), case.tasks, seed=0, base=tmp_path)
    error = caught.value
    assert error.key == case.key
    text = f"{error.message} {error.hint}"
    assert all(words in text for words in case.says), text
    assert error.message.rstrip()[-1:] in ".?)" or "\n" in error.message
    assert not list((tmp_path / "cache").glob("requests/*"))


def trees(folder: Path) -> DataConfig:
    save(folder, [f"color/{('red', 'blue')[n % 2]}/{n}.png" for n in range(20)])
    save(folder, [f"style/{('old', 'new')[n % 2]}/{n}.png" for n in range(20)])
    return DataConfig(source={"color": "color", "style": "style"}, cache=str(folder / "cache"))


def test_a_name_twice_in_a_tree(tmp_path: Path) -> None:
    data = trees(tmp_path)
    save(tmp_path, ["color/red/1.png"])
    with pytest.raises(DataError, match=r"'1\.png' is in the tree of 'color' twice") as caught:
        prepare_data(data, COLOR, seed=0, base=tmp_path)
    assert caught.value.key == "data.source.color"


def test_different_images_of_one_name(tmp_path: Path) -> None:
    data = trees(tmp_path)
    Image.fromarray(pixels(seed=99)).save(tmp_path / "style" / "new" / "3.png")
    with pytest.raises(DataError, match="different files") as caught:
        prepare_data(data, COLOR, seed=0, base=tmp_path)
    assert "3.png" in caught.value.message
    assert caught.value.key == "data.source.style"


def test_trees_that_are_not_there_or_empty(tmp_path: Path) -> None:
    data = trees(tmp_path)
    (tmp_path / "style").rename(tmp_path / "gone")
    with pytest.raises(DataError, match="no folder") as caught:
        prepare_data(data, COLOR, seed=0, base=tmp_path)
    assert caught.value.key == "data.source.style"
    (tmp_path / "style" / "new").mkdir(parents=True)
    with pytest.raises(DataError, match="holds an image"):
        prepare_data(data, COLOR, seed=0, base=tmp_path)


def test_a_tree_that_leads_outside(tmp_path: Path) -> None:
    save(tmp_path / "in" / "color", [f"{('red', 'blue')[n % 2]}/{n}.png" for n in range(20)])
    save(tmp_path / "out", ["x.png"])
    (tmp_path / "in" / "color" / "red" / "x.png").symlink_to(tmp_path / "out" / "x.png")
    data = DataConfig(source="color", cache=str(tmp_path / "cache"))
    task = {"t": MulticlassTask(label="label")}
    with pytest.raises(DataError, match="outside") as caught:
        prepare_data(data, task, seed=0, base=tmp_path / "in")
    assert caught.value.key == "data.root"
    wider = data.model_copy(update={"root": ".."})
    assert len(prepare_data(wider, task, seed=0, base=tmp_path / "in").images) == 21


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    save(tmp_path / "color", [f"{('red', 'blue')[n % 2]}/{n}.png" for n in range(20)])
    (tmp_path / "color" / "red" / "again").symlink_to(tmp_path / "color" / "red")
    data = DataConfig(source="color", cache=str(tmp_path / "cache"))
    found = prepare_data(data, {"t": MulticlassTask(label="label")}, seed=0, base=tmp_path)
    assert len(found.images) == 20


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "train-labels-idx1-ubyte").unlink(), "train-labels-idx1-ubyte"),
        (lambda folder: os.truncate(folder / "train-images-idx3-ubyte", 100), "says it holds"),
        (lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(b"GIF89a"), "not an IDX file"),
        (lambda folder: (folder / "train-labels-idx1-ubyte").write_bytes(labels(19)), "does not fit"),
    ],
)
def test_bad_idx(tmp_path: Path, damage: Callable[[Path], object], says: str) -> None:
    for prefix in ("train", "t10k"):
        header = bytes((0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 4, 0, 0, 0, 4))
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(header + bytes(320))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(labels(20))
    damage(tmp_path)
    data = DataConfig(source=f"idx:{tmp_path}", cache=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=says) as caught:
        prepare_data(data, {"t": MulticlassTask(label="label")}, seed=0)
    assert caught.value.key == "data.source"


def labels(count: int) -> bytes:
    return bytes((0, 0, 8, 1, 0, 0, 0, count)) + bytes(n % 2 for n in range(count))


def test_errors_survive_the_way_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(DataError("what", "cure", "data.root")))
    assert (error.message, error.hint, error.key, str(error)) == ("what", "cure", "data.root", "what cure")
