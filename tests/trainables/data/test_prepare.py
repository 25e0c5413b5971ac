"""What `prepare_data` promises about splits, labels and masks."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.data.pictures import ALL, COLOR, config, pixels, save, table, write_csv
from trainables.config.data import DataConfig
from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedData, load_prepared
from trainables.data.splits import _connected
from trainables.errors import DataError


def split_of(data: PreparedData) -> dict[str, str]:
    ids = data.ids()
    return {ids[row]: name for name, rows in data.splits.items() for row in rows.tolist()}


def test_every_row_is_in_exactly_one_split_and_no_labelled_row_is_lost(tmp_path: Path) -> None:
    table(tmp_path)
    data = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    rows = np.concatenate(list(data.splits.values()))
    assert sorted(rows.tolist()) == list(range(60))
    assert {name: len(found) for name, found in data.splits.items()} == {"train": 48, "val": 6, "test": 6}
    assert int(data.labels["logo"].present.sum()) == 40
    assert data.labels["color"].present.all()


def test_rows_carry_their_own_image_and_labels(tmp_path: Path) -> None:
    table(tmp_path)
    data = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    for row, name in enumerate(data.ids()):
        n = int(Path(name).stem)
        assert np.array_equal(np.asarray(data.images)[row], pixels(seed=n).transpose(2, 0, 1))
        assert data.classes["color"][data.labels["color"].values[row]] == ("red", "green", "blue")[n % 3]
        tags = [
            tag for tag, has in zip(data.classes["tags"], data.labels["tags"].values[row], strict=True) if has
        ]
        assert tags == [["cat", "dog"], ["cat"], ["dog"], []][n % 4]
        assert data.labels["logo"].present[row] == (n % 3 < 2)
        assert data.labels["logo"].values[row] == (n % 3 == 0)
    assert data.classes == {"color": ("blue", "green", "red"), "tags": ("cat", "dog"), "logo": ("0", "1")}


def test_the_order_of_rows_has_no_influence(tmp_path: Path) -> None:
    file = table(tmp_path)
    first = prepare_data(config(tmp_path), ALL, seed=3, base=tmp_path)
    with file.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    random.Random(1).shuffle(rows)
    write_csv(file, dict(zip(header, zip(*rows, strict=True), strict=True)))
    assert prepare_data(config(tmp_path), ALL, seed=3, base=tmp_path).digest == first.digest


def test_the_folder_has_no_influence(tmp_path: Path) -> None:
    table(tmp_path / "a")
    table(tmp_path / "b" / "c")
    one = prepare_data(config(tmp_path), ALL, seed=3, base=tmp_path / "a")
    other = prepare_data(config(tmp_path), ALL, seed=3, base=tmp_path / "b" / "c")
    assert one.digest == other.digest


def test_the_seed_decides_the_split_and_nothing_else(tmp_path: Path) -> None:
    table(tmp_path)
    one, same, other = (prepare_data(config(tmp_path), ALL, seed=seed, base=tmp_path) for seed in (1, 1, 2))
    assert one.digest == same.digest != other.digest
    assert split_of(one) != split_of(other)
    assert np.array_equal(one.labels["color"].values, other.labels["color"].values)


def test_a_new_row_moves_few_others(tmp_path: Path) -> None:
    table(tmp_path, 120)
    before = split_of(prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path))
    table(tmp_path, 123)
    after = split_of(prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path))
    assert sum(after[name] != split for name, split in before.items()) < 12


def test_groups_are_never_torn_apart(tmp_path: Path) -> None:
    table(tmp_path, product=[f"p{n // 4}" for n in range(60)])
    data = prepare_data(config(tmp_path, split={"group": "product"}), ALL, seed=0, base=tmp_path)
    splits: dict[int, set[str]] = {}
    for name, split in split_of(data).items():
        splits.setdefault(int(Path(name).stem) // 4, set()).add(split)
    assert len(splits) == 15
    assert all(len(found) == 1 for found in splits.values())


def test_rows_of_one_image_stay_together(tmp_path: Path) -> None:
    table(tmp_path)
    write_csv(
        tmp_path / "twice.csv",
        {"path": [f"images/{n // 2:04d}.png" for n in range(60)], "color": [str(n % 2) for n in range(60)]},
    )
    data = prepare_data(config(tmp_path, source="twice.csv"), COLOR, seed=0, base=tmp_path)
    split = split_of(data)
    assert all(split[f"images/{n:04d}.png"] == split[f"images/{n:04d}.png#2"] for n in range(30))


def test_neither_an_image_nor_a_group_is_in_two_splits(tmp_path: Path) -> None:
    """Each image is in two rows of different groups, and each group has an image in common with the next."""
    table(tmp_path)
    rows = [(image, image // 4 + extra * (image % 4 == 0)) for image in range(60) for extra in (0, 20)]
    write_csv(
        tmp_path / "tied.csv",
        {
            "path": [f"images/{image:04d}.png" for image, _ in rows],
            "group": ["" if image == 59 else f"g{group}" for image, group in rows],
            "color": [str(n % 2) for n in range(120)],
        },
    )
    data = config(tmp_path, source="tied.csv", split={"group": "group"})
    split = split_of(prepare_data(data, COLOR, seed=0, base=tmp_path))
    assert set(split.values()) == {"train", "val", "test"}
    homes: dict[str, set[str]] = {}
    for row, home in split.items():
        homes.setdefault(row.split("#")[0], set()).add(home)
    assert all(len(found) == 1 for found in homes.values())


def test_ties_reach_through_groups_and_images() -> None:
    groups = ["d", "c", "c", "b", "e", "a"]
    images = ["1", "1", "2", "2", "3", "4"]
    assert _connected(groups, images) == ["b", "b", "b", "b", "e", "a"]


def test_split_column(tmp_path: Path) -> None:
    names = ["train", "Validation", "TEST"]
    table(tmp_path, part=[names[n % 12 % 3 if n % 12 > 8 else 0] for n in range(60)])
    data = prepare_data(config(tmp_path, split={"column": "part"}), ALL, seed=0, base=tmp_path)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 50, "val": 5, "test": 5}


def test_without_a_test_split(tmp_path: Path) -> None:
    table(tmp_path)
    fractions = {"train": 0.75, "val": 0.25, "test": 0}
    data = prepare_data(config(tmp_path, split=fractions), ALL, seed=0, base=tmp_path)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 45, "val": 15, "test": 0}


def test_keep_makes_a_subset_a_dataset(tmp_path: Path) -> None:
    table(tmp_path, year=[2000 + n % 2 for n in range(60)])
    kept = config(tmp_path, keep={"color": ["red", "blue"], "year": [2000]})
    data = prepare_data(kept, COLOR, seed=0, base=tmp_path)
    assert data.classes["color"] == ("blue", "red")
    assert len(data.images) == 20
    assert all(int(Path(name).stem) % 2 == 0 for name in data.ids())


@pytest.mark.parametrize("cell", ["-1", "-1.0", " -1 "])
def test_missing_values_compare_as_text_and_as_numbers(tmp_path: Path, cell: str) -> None:
    table(tmp_path, size=[cell if n % 5 == 0 else str(n % 2) for n in range(60)])
    tasks = {"size": MulticlassTask(label="size")}
    data = prepare_data(config(tmp_path, missing=[-1]), tasks, seed=0, base=tmp_path)
    assert data.classes["size"] == ("0", "1")
    assert int((~data.labels["size"].present).sum()) == 12


def test_integers_that_became_floats_show_as_integers(tmp_path: Path) -> None:
    table(tmp_path, size=[("10.0", "9.0", "")[n % 3] for n in range(60)])
    tasks = {"size": MulticlassTask(label="size")}
    assert prepare_data(config(tmp_path), tasks, seed=0, base=tmp_path).classes["size"] == ("9", "10")


def test_declared_classes_keep_their_order(tmp_path: Path) -> None:
    table(tmp_path)
    tasks = {"color": MulticlassTask(label="color", classes=("red", "green", "blue", "white"))}
    data = prepare_data(config(tmp_path), tasks, seed=0, base=tmp_path)
    assert data.classes["color"] == ("red", "green", "blue", "white")


@pytest.mark.parametrize(
    ("cells", "positive", "classes"),
    [
        (("True", "False"), True, ("false", "true")),
        (("True", "False"), None, ("false", "true")),
        (("1", "0"), None, ("0", "1")),
        (("yes", "no"), "no", ("yes", "no")),
        (("a", "b", "c"), "b", ("not b", "b")),
    ],
)
def test_binary_labels(
    tmp_path: Path, cells: tuple[str, ...], positive: object, classes: tuple[str, str]
) -> None:
    table(tmp_path, mark=[cells[n % len(cells)] for n in range(60)])
    tasks = {"mark": BinaryTask.model_validate({"label": "mark", "positive": positive})}
    data = prepare_data(config(tmp_path), tasks, seed=0, base=tmp_path)
    assert data.classes["mark"] == classes
    expected = [cells[int(Path(name).stem) % len(cells)].lower() == classes[1] for name in data.ids()]
    assert data.labels["mark"].values.tolist() == [int(value) for value in expected]


def test_multilabel_separator(tmp_path: Path) -> None:
    table(tmp_path, words=[("a; b", "b", "c;a")[n % 3] for n in range(60)])
    tasks = {"words": MultilabelTask(label="words", separator=";")}
    data = prepare_data(config(tmp_path), tasks, seed=0, base=tmp_path)
    assert data.classes["words"] == ("a", "b", "c")
    assert data.labels["words"].values.sum(axis=0).tolist() == [40, 40, 20]


def test_mean_and_deviation_are_those_of_the_training_images(tmp_path: Path) -> None:
    table(tmp_path)
    data = prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path)
    train = data.images[data.splits["train"]] / 255.0
    assert data.mean == pytest.approx(train.mean(axis=(0, 2, 3)))
    assert data.std == pytest.approx(train.std(axis=(0, 2, 3)))


def test_unreadable_images_are_counted_and_left_out(tmp_path: Path) -> None:
    table(tmp_path)
    (tmp_path / "images" / "0007.png").write_bytes(b"not an image")
    (tmp_path / "images" / "0009.png").unlink()
    with pytest.raises(DataError) as caught:
        prepare_data(config(tmp_path, image_size=8), ALL, seed=0, base=tmp_path)
    assert "2 of 60" in caught.value.message
    assert "labels.csv line 9" in caught.value.message
    assert "no such file" in caught.value.message
    assert caught.value.key == "data.unreadable"
    data = prepare_data(config(tmp_path, unreadable="drop"), ALL, seed=0, base=tmp_path)
    assert sum(data.dropped.values()) == 2
    assert sum(len(rows) for rows in data.splits.values()) == 58
    assert not {"images/0007.png", "images/0009.png"} & set(split_of(data))


def test_a_stray_write_stays_private(tmp_path: Path) -> None:
    table(tmp_path)
    data = prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path)
    np.asarray(data.images)[:] = 0
    assert np.asarray(load_prepared(data.directory).images).any()


def test_augmentation_is_no_part_of_the_data(tmp_path: Path) -> None:
    table(tmp_path)
    plain = prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path)
    strong = prepare_data(config(tmp_path, augment="strong"), COLOR, seed=0, base=tmp_path)
    assert plain.directory == strong.directory


def test_several_trees_join_by_name(tmp_path: Path) -> None:
    save(tmp_path / "all", [f"{n}.png" for n in range(40)])
    for n in range(40):
        trees = [("color", ("red", "blue")[n % 2])] + [("style", ("old", "new")[n // 2 % 2])] * (n < 30)
        for tree, label in trees:
            (tmp_path / tree / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / tree / label / f"{n}.png").hardlink_to(tmp_path / "all" / f"{n}.png")
    source = DataConfig(source={"color": "color", "style": "style"}, cache=str(tmp_path / "cache"))
    tasks = {"c": MulticlassTask(label="color"), "s": MulticlassTask(label="style")}
    data = prepare_data(source, tasks, seed=0, base=tmp_path)
    assert len(data.images) == 40
    assert int(data.labels["s"].present.sum()) == 30
    assert data.labels["c"].present.all()
