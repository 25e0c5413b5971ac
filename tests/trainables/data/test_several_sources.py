"""Several sources are one table with masks, as far as possible without copying anything."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.data.pictures import pixels, write_csv
from trainables.config.data import DataConfig
from trainables.config.tasks import MulticlassTask, TaskConfig
from trainables.config.trial import TrialConfig
from trainables.data.inspect import inspect_data
from trainables.data.joined import JoinedImages
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedData
from trainables.errors import DataError
from trainables.training.trainer import Trainer
from trainables.training.world import World

COUNTS = {"first": 40, "second": 60}
TASKS: dict[str, TaskConfig] = {
    "color": MulticlassTask(label="color"),
    "shape": MulticlassTask(label="shape"),
}
LABELS = {"color": ("red", "green", "blue"), "shape": ("round", "square")}
OWN = {"first": "color", "second": "shape"}


def cells(task: str, count: int) -> list[str]:
    return [LABELS[task][n % len(LABELS[task])] for n in range(count)]


def parts(count: int) -> list[str]:
    return [("val", "test", "train", "train", "train")[n % 5] for n in range(count)]


def images(folder: Path, name: str, *, grey: bool = False, side: int = 8) -> list[str]:
    """Paths of this source's pictures, which no other source has."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    paths = [f"{name}/{n:03d}.png" for n in range(COUNTS[name])]
    for n, path in enumerate(paths):
        picture = Image.fromarray(pixels(side, side, seed=1000 * len(name) + n))
        picture.convert("L" if grey else "RGB").save(folder / path)
    return paths


def tables(folder: Path, **kinds: Mapping[str, Any]) -> None:
    """`first.csv` labelled for color, `second.csv` for shape."""
    for name, task in OWN.items():
        count = COUNTS[name]
        columns: dict[str, Sequence[str]] = {
            "path": images(folder, name, **kinds.get(name, {})),
            task: cells(task, count),
            "part": parts(count),
        }
        write_csv(folder / f"{name}.csv", columns)


def source(name: str, **changes: Any) -> dict[str, Any]:
    described = {"name": name, "source": f"{name}.csv", "tasks": [OWN[name]], "split": {"column": "part"}}
    return {**described, **changes}


def both(folder: Path, *sources: dict[str, Any], **changes: Any) -> DataConfig:
    several = list(sources or (source("first"), source("second")))
    return DataConfig.model_validate({"sources": several, "cache": str(folder / "cache"), **changes})


def alone(folder: Path, table: str, **changes: Any) -> DataConfig:
    single = {"source": table, "split": {"column": "part"}, "cache": str(folder / "cache")}
    return DataConfig.model_validate({**single, **changes})


def prepare(folder: Path, data: DataConfig, tasks: Mapping[str, TaskConfig] = TASKS) -> PreparedData:
    return prepare_data(data, tasks, seed=0, base=folder)


def concatenated(folder: Path) -> Path:
    """One table of all images, with empty cells."""
    first, second = COUNTS.values()
    columns = {
        "path": [f"{name}/{n:03d}.png" for name, count in COUNTS.items() for n in range(count)],
        "color": [*cells("color", first), *[""] * second],
        "shape": [*[""] * first, *cells("shape", second)],
        "part": [*parts(first), *parts(second)],
    }
    return write_csv(folder / "all.csv", columns)


def test_two_sources_are_the_concatenated_table_with_masks(tmp_path: Path) -> None:
    tables(tmp_path)
    concatenated(tmp_path)
    one, other = prepare(tmp_path, alone(tmp_path, "all.csv")), prepare(tmp_path, both(tmp_path))
    assert isinstance(other.images, JoinedImages)
    assert other.ids() == [f"{id_.partition('/')[0]}/{id_}" for id_ in one.ids()]
    assert other.sources == {"first": range(40), "second": range(40, 100)}
    assert (one.classes, one.mean, one.std) == (other.classes, other.mean, other.std)
    assert np.array_equal(np.asarray(one.images), other.images[np.arange(100)])
    for split, rows in one.splits.items():
        assert np.array_equal(rows, other.splits[split])
    for task, labels in one.labels.items():
        assert np.array_equal(labels.present, other.labels[task].present)
        assert np.array_equal(labels.values, other.labels[task].values)


def trained(data: DataConfig, prepared: PreparedData) -> dict[str, torch.Tensor]:
    training = {"epochs": 2, "batch_size": 16, "precision": "fp32"}
    config = TrialConfig.model_validate(
        {
            "data": data.model_copy(update={"augment": "light"}),
            "tasks": TASKS,
            "training": training,
            "model": {"backbone": "lenet"},
        }
    )
    trainer = Trainer(config, prepared, World.single())
    reports = [trainer.run_epoch() for _ in range(2)]
    assert reports[-1].training["color.labels_seen"] + reports[-1].training["shape.labels_seen"] == 60
    return trainer.state_dict().tensors


def test_and_train_the_same_model_bit_for_bit(tmp_path: Path) -> None:
    tables(tmp_path)
    concatenated(tmp_path)
    one, other = (
        trained(data, prepare(tmp_path, data)) for data in (alone(tmp_path, "all.csv"), both(tmp_path))
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_labels_seen_follow_the_mixing(tmp_path: Path) -> None:
    tables(tmp_path)
    data = both(tmp_path, mixing={"first": 3, "second": 1})
    config = TrialConfig.model_validate({"data": data, "tasks": TASKS, "training": {"batch_size": 20}})
    report = Trainer(config, prepare(tmp_path, data), World.single()).run_epoch()
    assert report.training["color.labels_seen"] == 45  # three in four of 24 + 36 draws
    assert report.training["shape.labels_seen"] == 15


def test_a_source_is_split_as_if_it_were_alone(tmp_path: Path) -> None:
    tables(tmp_path)
    data = both(tmp_path, *(source(name, split=None) for name in OWN))
    together = prepare(tmp_path, data)
    for name, rows in together.sources.items():
        task = {OWN[name]: TASKS[OWN[name]]}
        single = prepare(tmp_path, alone(tmp_path, f"{name}.csv", split=None), task)
        for split, own in single.splits.items():
            mine = together.splits[split]
            assert np.array_equal(mine[(mine >= rows.start) & (mine < rows.stop)] - rows.start, own)


def test_images_are_decoded_once_for_a_source_alone_and_among_others(tmp_path: Path) -> None:
    tables(tmp_path)
    for name, task in OWN.items():
        prepare(tmp_path, alone(tmp_path, f"{name}.csv"), {task: TASKS[task]})

    def refuse(done: int, total: int) -> None:
        raise AssertionError(f"decoded {done} of {total} again")

    prepare_data(both(tmp_path), TASKS, seed=0, base=tmp_path, progress=refuse)
    assert len(list((tmp_path / "cache" / "images").iterdir())) == 2


def test_mixing_is_no_other_data(tmp_path: Path) -> None:
    tables(tmp_path)
    first, second = (
        prepare(tmp_path, both(tmp_path, mixing=mixing)) for mixing in ("uniform", "proportional")
    )
    assert first.directory == second.directory


def test_progress_counts_the_images_of_all_sources(tmp_path: Path) -> None:
    tables(tmp_path)
    seen: list[tuple[int, int]] = []
    prepare_data(
        both(tmp_path), TASKS, seed=0, base=tmp_path, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (100, 100)


def test_grey_images_stay_grey_on_disk_and_are_read_as_color(tmp_path: Path) -> None:
    tables(tmp_path, first={"grey": True})
    data = prepare(tmp_path, both(tmp_path))
    assert isinstance(data.images, JoinedImages)
    assert data.images.shape == (100, 3, 8, 8)
    assert [part.shape[1] for part in data.images.parts] == [1, 3]
    rows = np.array([70, 3, 3, 39, 40])
    found = data.images[rows]
    assert np.array_equal(found[1, 0], found[1, 2])
    assert np.array_equal(found[3, 0], data.images.parts[0][39, 0])
    assert np.array_equal(found[4], data.images.parts[1][0])
    train = data.images[data.splits["train"]] / 255.0
    assert train.mean((0, 2, 3)) == pytest.approx(data.mean)
    assert train.std((0, 2, 3)) == pytest.approx(data.std)


def test_a_task_of_two_sources_has_the_classes_of_both(tmp_path: Path) -> None:
    tables(tmp_path)
    sources = [source("first", tasks=["kind"]), source("second", tasks={"kind": "shape"})]
    tasks = {"kind": MulticlassTask(label="color")}
    data = prepare(tmp_path, both(tmp_path, *sources), tasks)
    assert data.classes["kind"] == ("blue", "green", "red", "round", "square")
    assert data.labels["kind"].present.all()
    named = [data.classes["kind"][value] for value in data.labels["kind"].values]
    assert named == [*cells("color", 40), *cells("shape", 60)]


def test_a_column_of_a_task_that_is_not_listed_is_no_label(tmp_path: Path) -> None:
    tables(tmp_path)
    both_columns = {
        "path": images(tmp_path, "second"),
        "color": ["red", "blue"] * 30,
        "shape": cells("shape", 60),
    }
    write_csv(tmp_path / "second.csv", {**both_columns, "part": parts(60)})
    data = prepare(tmp_path, both(tmp_path))
    assert not data.labels["color"].present[40:].any()


def test_unreadable_images_are_named_with_their_source_and_dropped_there(tmp_path: Path) -> None:
    tables(tmp_path)
    (tmp_path / "second" / "007.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"second: second\.csv line 9"):
        prepare(tmp_path, both(tmp_path))
    data = prepare(tmp_path, both(tmp_path, unreadable="drop"))
    assert data.dropped == {"train": 1, "val": 0, "test": 0}
    assert 47 not in np.concatenate(list(data.splits.values()))


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"source": "scond.csv"}, "data.sources[1].source", "second.csv"),
        ({"image": "file"}, "data.sources[1].image", "path, shape, part"),
        ({"root": "nowhere"}, "data.sources[1].root", "data.sources[1].root"),
        ({"keep": {"shape": ["flat"]}}, "data.sources[1].keep.shape", "data.sources[1].keep leaves no row"),
        ({"split": {"column": "fold"}}, "data.sources[1].split.column", "'fold'"),
        ({"tasks": {"shape": "form"}}, "data.sources[1].tasks", "no column 'form'"),
        ({"missing": ["round", "square"]}, "tasks.shape.label", "data.sources[].missing"),
    ],
)
def test_errors_name_the_keys_of_the_source(
    changes: dict[str, Any], key: str, says: str, tmp_path: Path
) -> None:
    tables(tmp_path)
    data = both(tmp_path, source("first"), source("second", **changes))
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, data)
    assert caught.value.key == key
    assert says in f"{caught.value}"
    found = [problem for problem in inspect_data(data, TASKS, seed=0, base=tmp_path).problems
             if problem.severity == "error"]  # fmt: skip
    assert [(problem.key, problem.message) for problem in found] == [(key, caught.value.message)]


def test_sources_of_different_sizes_need_an_image_size(tmp_path: Path) -> None:
    tables(tmp_path, second={"side": 10})
    with pytest.raises(DataError, match="first 8 × 8, second 10 × 10") as caught:
        prepare(tmp_path, both(tmp_path))
    assert caught.value.key == "data.image_size"
    assert prepare(tmp_path, both(tmp_path, image_size=6)).images.shape == (100, 3, 6, 6)


def test_inspection_counts_by_source_and_sees_pictures_of_two_sources_in_two_splits(tmp_path: Path) -> None:
    tables(tmp_path)
    copied = (tmp_path / "first" / "002.png").read_bytes()  # of the training split
    (tmp_path / "second" / "000.png").write_bytes(copied)  # of the validation split
    report = inspect_data(both(tmp_path), TASKS, seed=0, base=tmp_path)
    assert report.sources["first"].splits == {"train": 24, "val": 8, "test": 8}
    assert report.sources["second"].labelled == {"shape": {"train": 36, "val": 12, "test": 12}}
    (found,) = report.duplicates
    assert found.places == {
        "train": ("first: first.csv line 4 (first/002.png)",),
        "val": ("second: second.csv line 2 (second/000.png)",),
    }


def test_a_source_that_cannot_be_read_hides_nothing_of_the_others(tmp_path: Path) -> None:
    tables(tmp_path)
    data = both(tmp_path, source("first", source="nowhere.csv"), source("second", tasks=["shape", "color"]))
    report = inspect_data(data, TASKS, seed=0, base=tmp_path)
    keys = [problem.key for problem in report.problems if problem.severity == "error"]
    assert keys == ["data.sources[0].source", "data.sources[1].tasks"]
    assert list(report.tasks) == ["shape"]
    assert list(report.sources) == ["second"]


@pytest.mark.parametrize("tasks", [["color"], {"color": "color"}])
def test_single_sources_may_be_a_list_of_one(tasks: Any, tmp_path: Path) -> None:
    tables(tmp_path)
    color = {"color": TASKS["color"]}
    data = prepare(tmp_path, both(tmp_path, source("first", tasks=tasks)), color)
    single = prepare(tmp_path, alone(tmp_path, "first.csv"), color)
    assert np.array_equal(np.asarray(data.images), np.asarray(single.images))
    assert data.sources == {"first": range(40)}
