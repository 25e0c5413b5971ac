"""`inspect_data` says everything at once."""

import os
from pathlib import Path

import pytest

from tests.trainables.data.pictures import ALL, config, save, table, write_csv
from trainables.config.data import DataConfig
from trainables.config.tasks import MulticlassTask, MultilabelTask, TaskConfig
from trainables.data.inspect import inspect_data
from trainables.data.prepare import prepare_data
from trainables.data.report import DataReport


def said(report: DataReport) -> list[tuple[str, str | None]]:
    return [(problem.severity, problem.key) for problem in report.problems]


def test_good_data_has_no_problems_and_is_decoded_for_later(tmp_path: Path) -> None:
    table(tmp_path, 120)
    report = inspect_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    assert report.problems == ()
    assert report.rows == 120
    assert report.image_shape == (3, 8, 8)
    assert report.splits == {"train": 96, "val": 12, "test": 12}
    logo = report.tasks["logo"]
    assert logo.classes == ("0", "1")
    assert {name: logo.labelled[name] + logo.missing[name] for name in report.splits} == report.splits
    assert sum(logo.missing.values()) == 40
    assert sum(sum(counts.values()) for counts in logo.counts.values()) == 80
    assert sum(report.tasks["tags"].counts["train"].values()) == 96

    def refuse(done: int, total: int) -> None:
        raise AssertionError(f"decoded {done} of {total} again")

    prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path, progress=refuse)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    table(tmp_path, part=["val" if n % 10 == 0 else "train" for n in range(60)], metal=["m"] * 60)
    for n in range(8):
        (tmp_path / "images" / f"{50 + n:04d}.png").write_bytes(b"broken")
    tasks = {
        **ALL,
        "metal": MulticlassTask(label="metal"),
        "wood": MulticlassTask(label="wood"),
    }
    data = config(tmp_path, split={"column": "part", "group": "color"})
    report = inspect_data(data, tasks, seed=0, base=tmp_path)
    assert said(report) == [
        ("error", "tasks.wood.label"),
        ("error", "data.unreadable"),
        ("error", "tasks.metal.label"),
        ("warning", "data.split.group"),
    ]
    assert len(report.unreadable) == 8
    assert all("labels.csv line" in place for place, _ in report.unreadable)
    assert set(report.tasks) == set(ALL)
    dropped = inspect_data(data.model_copy(update={"unreadable": "drop"}), ALL, seed=0, base=tmp_path)
    assert ("warning", "data.unreadable") in said(dropped)
    assert "train 7, val 1" in dropped.problems[0].message


def test_copies_of_an_image_in_two_splits_are_found(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(40)]
    save(tmp_path, names)
    (tmp_path / "39.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "38.png").write_bytes((tmp_path / "1.png").read_bytes())
    columns = {
        "path": names,
        "label": [str(n % 2) for n in range(40)],
        "part": ["train" if n < 30 else "val" if n < 39 else "test" for n in range(40)],
    }
    write_csv(tmp_path / "labels.csv", columns)
    data = config(tmp_path, split={"column": "part"})
    report = inspect_data(data, {"t": MulticlassTask(label="label")}, seed=0, base=tmp_path)
    found = sorted(tuple(duplicate.places) for duplicate in report.duplicates)
    assert found == [("train", "test"), ("train", "val")]
    messages = [problem.message for problem in report.problems if problem.key == "data.split"]
    assert len(messages) == 2
    assert "0.png" in messages[1]
    assert "39.png" in messages[1]


def test_copies_within_a_split_are_counted_and_their_labels_compared(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(40)]
    save(tmp_path, names)
    for copy in ("37.png", "38.png", "39.png"):
        (tmp_path / copy).write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "36.png").write_bytes((tmp_path / "1.png").read_bytes())
    columns = {
        "path": names,
        "label": ["cat" if n % 2 else "dog" for n in range(36)] + ["cat", "dog", "dog", ""],
        "tags": ["a"] * 39 + ["a|b"],
        "part": ["val" if 10 <= n < 20 else "train" for n in range(40)],
    }
    write_csv(tmp_path / "labels.csv", columns)
    data = config(tmp_path, split={"column": "part"}, missing=[""])
    tasks: dict[str, TaskConfig] = {"t": MulticlassTask(label="label"), "m": MultilabelTask(label="tags")}
    report = inspect_data(data, tasks, seed=0, base=tmp_path)
    assert report.duplicates == ()
    assert report.problems[-1].severity == "note"
    assert "2 pictures occur several times within a split, 6 times in all" in report.problems[-1].message
    said_of = {p.key: p.message for p in report.problems if "different labels" in p.message}
    assert said_of.keys() == {"tasks.m.label"}
    assert "1 pictures" in said_of["tasks.m.label"]
    assert "(a, b)" in said_of["tasks.m.label"]
    columns["label"][36] = "dog"
    write_csv(tmp_path / "labels.csv", columns)
    report = inspect_data(data, {"t": tasks["t"]}, seed=0, base=tmp_path)
    (warning,) = [problem for problem in report.problems if "different labels" in problem.message]
    assert (warning.severity, warning.key) == ("warning", "tasks.t.label")
    assert "1.png) (cat) and" in warning.message
    assert "36.png) (dog)" in warning.message


def test_dropped_images_are_listed_and_counted_by_split(tmp_path: Path) -> None:
    """Where they would have been is part of the data's identity."""
    digests = set()
    for moved in (False, True):
        table(tmp_path, part=[("train", "val", "test")[(n // 3 + moved * (n == 20)) % 3] for n in range(60)])
        for n in (3, 4, 20, 30):
            (tmp_path / "images" / f"{n:04d}.png").write_bytes(b"broken")
        data = config(tmp_path, split={"column": "part"}, unreadable="drop")
        prepared = prepare_data(data, ALL, seed=0, base=tmp_path)
        digests.add(prepared.digest)
        assert prepared.dropped == {"train": 1 - moved, "val": 3 + moved, "test": 0}
        splits = {name: len(found) for name, found in prepared.splits.items()}
        assert splits == {"train": 20, "val": 18, "test": 18}
        report = inspect_data(data, ALL, seed=0, base=tmp_path)
        assert report.splits == splits
        assert [place.split("(")[1] for place, _ in report.unreadable] == [
            f"images/{n:04d}.png)" for n in (3, 4, 20, 30)
        ]
        assert {reason for _, reason in report.unreadable} == {"not an image in a format that is read here"}
    assert len(digests) == 2


def test_images_that_do_not_fit_into_memory_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path, 120)
    size = 120 * 3 * 8 * 8
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 100, "SC_PAGE_SIZE": size / 50}.__getitem__)
    assert inspect_data(config(tmp_path), ALL, seed=0, base=tmp_path).problems == ()
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 100, "SC_PAGE_SIZE": size / 70}.__getitem__)
    (note,) = inspect_data(config(tmp_path), ALL, seed=0, base=tmp_path).problems
    assert note.severity == "note"
    assert "slow" in note.message


def test_few_examples_and_absent_classes_are_said(tmp_path: Path) -> None:
    table(tmp_path, 60, rare=["rare" if n < 3 else str(n % 2) for n in range(60)])
    report = inspect_data(config(tmp_path), {"t": MulticlassTask(label="rare")}, seed=0, base=tmp_path)
    assert all(problem.severity == "warning" for problem in report.problems)
    assert "fewer than 5 training examples: rare" in report.problems[0].message
    assert any("without an example" in problem.message for problem in report.problems)


def test_what_cannot_be_read_at_all_is_one_problem(tmp_path: Path) -> None:
    report = inspect_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    assert said(report) == [("error", "data.source")]


def test_stray_images_of_a_tree_are_said(tmp_path: Path) -> None:
    save(tmp_path / "tree", [f"{('a', 'b')[n % 2]}/{n}.png" for n in range(80)])
    save(tmp_path / "tree", ["stray.png"])
    data = DataConfig(source="tree", cache=str(tmp_path / "cache"))
    report = inspect_data(data, {"t": MulticlassTask(label="label")}, seed=0, base=tmp_path)
    assert report.rows == 80
    assert "1 images lie outside" in report.problems[0].message
