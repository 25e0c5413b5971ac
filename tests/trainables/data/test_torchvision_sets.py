"""torchvision's datasets, read from small files in their formats on disk."""

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.trainables.data.pictures import save
from trainables.config.data import DataConfig
from trainables.config.tasks import BinaryTask, MulticlassTask, TaskConfig
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedData
from trainables.data.torchvision_sets import READERS, read_torchvision
from trainables.errors import DataError

TRAIN, TEST = 40, 10
RNG = np.random.default_rng(0)


def prepared(root: Path, name: str, *columns: str, **further: Any) -> PreparedData:
    data = DataConfig.model_validate(
        {"source": f"torchvision:{name}", "root": str(root), "cache": str(root / "cache"), **further}
    )
    tasks: dict[str, TaskConfig] = {column: MulticlassTask(label=column) for column in columns}
    return prepare_data(data, tasks, seed=0)


def sizes(data: PreparedData) -> dict[str, int]:
    return {name: len(rows) for name, rows in data.splits.items()}


def names(data: PreparedData, task: str) -> list[str]:
    return [data.classes[task][value] for value in data.labels[task].values.tolist()]


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(folder: Path, train: str = "train", test: str = "t10k") -> NDArray[np.uint8]:
    folder.mkdir(parents=True)
    images = RNG.integers(0, 256, (TRAIN + TEST, 28, 28), dtype=np.uint8)
    labels = (np.arange(TRAIN + TEST) % 2 + 1).astype(np.uint8)
    for prefix, part in ((train, slice(0, TRAIN)), (test, slice(TRAIN, None))):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images[part]))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels[part]))
    return images


def write_cifar(
    folder: Path, parts: Mapping[str, int], keys: Mapping[str, int], protocol: int
) -> NDArray[np.uint8]:
    """Batches as the originals: 3072 bytes per image, channel by channel, and lists of labels."""
    folder.mkdir(parents=True)
    written = []
    start = 0
    for name, count in parts.items():
        images = RNG.integers(0, 256, (count, 3072), dtype=np.uint8)
        batch: dict[str, Any] = {"data": images, "batch_label": name}
        batch |= {key: [n % classes for n in range(start, start + count)] for key, classes in keys.items()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
        written.append(images.reshape(-1, 3, 32, 32))
        start += count
    return np.concatenate(written)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist(tmp_path: Path, name: str) -> None:
    images = write_mnist(tmp_path / name / "raw")
    data = prepared(tmp_path, name, "label")
    assert sizes(data) == {"train": 36, "val": 4, "test": 10}
    assert np.array_equal(np.asarray(data.images)[:, 0], images)


def test_emnist_is_turned_upright(tmp_path: Path) -> None:
    images = write_mnist(tmp_path / "EMNIST" / "raw", "emnist-letters-train", "emnist-letters-test")
    data = prepared(tmp_path, "EMNIST-letters", "label")
    assert np.array_equal(np.asarray(data.images)[:, 0], images.transpose(0, 2, 1))


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar10(tmp_path: Path, protocol: int) -> None:
    parts = {**{f"data_batch_{n}": 8 for n in range(1, 6)}, "test_batch": TEST}
    folder = tmp_path / "cifar-10-batches-py"
    images = write_cifar(folder, parts, {"labels": 2}, protocol)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["plane", "car"]}, protocol))
    data = prepared(tmp_path, "CIFAR10", "label")
    assert sizes(data) == {"train": 36, "val": 4, "test": 10}
    assert np.array_equal(np.asarray(data.images), images)
    assert names(data, "label")[:3] == ["plane", "car", "plane"]


def test_cifar100_has_two_tasks(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    images = write_cifar(folder, {"train": TRAIN, "test": TEST}, {"fine_labels": 4, "coarse_labels": 2}, 2)
    meta = {"fine_label_names": ["apple", "bear", "cup", "dog"], "coarse_label_names": ["plants", "animals"]}
    (folder / "meta").write_bytes(pickle.dumps(meta, 2))
    data = prepared(tmp_path, "CIFAR100", "fine", "coarse")
    assert np.array_equal(np.asarray(data.images), images)
    assert names(data, "fine")[:4] == ["apple", "bear", "cup", "dog"]
    assert names(data, "coarse")[:2] == ["plants", "animals"]
    subset = prepared(tmp_path, "CIFAR100", "fine", keep={"coarse": ["plants"]})
    assert subset.classes["fine"] == ("apple", "cup")


def test_pickles_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": Evil()}))
    with pytest.raises(DataError, match="it asks for") as caught:
        prepared(tmp_path, "CIFAR10", "label")
    assert caught.value.key == "data.root"
    assert not (tmp_path / "ran").exists()


def test_svhn(tmp_path: Path) -> None:
    from scipy.io import savemat

    images = RNG.integers(0, 256, (TRAIN + TEST, 32, 32, 3), dtype=np.uint8)
    labels = (np.arange(TRAIN + TEST) % 2 + 9)[:, None].astype(np.uint8)  # 9 and 10, which is 0
    for part, rows in (("train", slice(0, TRAIN)), ("test", slice(TRAIN, None))):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": images[rows].transpose(1, 2, 3, 0), "y": labels[rows]})
    data = prepared(tmp_path, "SVHN", "label")
    assert np.array_equal(np.asarray(data.images), images.transpose(0, 3, 1, 2))
    assert names(data, "label")[:2] == ["9", "0"]


def test_stl10(tmp_path: Path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = RNG.integers(0, 256, (TRAIN + TEST, 3, 96, 96), dtype=np.uint8)
    labels = (np.arange(TRAIN + TEST) % 2 + 1).astype(np.uint8)
    for part, rows in (("train", slice(0, TRAIN)), ("test", slice(TRAIN, None))):
        (folder / f"{part}_X.bin").write_bytes(images[rows].transpose(0, 1, 3, 2).tobytes())
        (folder / f"{part}_y.bin").write_bytes(labels[rows].tobytes())
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    data = prepared(tmp_path, "STL10", "label")
    assert np.array_equal(np.asarray(data.images), images)
    assert names(data, "label")[:2] == ["airplane", "bird"]


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_fer2013(tmp_path: Path, header: str) -> None:
    folder = tmp_path / "fer2013"
    folder.mkdir()
    lines = [header]
    images = RNG.integers(0, 256, (60, 48, 48), dtype=np.uint8)
    for n in range(60):
        cells = {
            "emotion": str(n // 3 % 2),
            "pixels": " ".join(map(str, images[n].ravel())),
            "Usage": ("Training", "PublicTest", "PrivateTest")[n % 3],
        }
        lines.append(",".join(cells[name.strip()] for name in header.split(",")))
    (folder / ("icml_face_data.csv" if ", " in header else "fer2013.csv")).write_text("\n".join(lines))
    data = prepared(tmp_path, "FER2013", "emotion")
    assert sizes(data) == {"train": 20, "val": 20, "test": 20}
    assert np.array_equal(np.asarray(data.images)[:, 0], images)


def test_celeba(tmp_path: Path) -> None:
    folder = tmp_path / "celeba"
    files = [f"{n:06d}.jpg" for n in range(1, 61)]
    save(folder / "img_align_celeba", files)
    attributes = ["5_o_Clock_Shadow", "Male", "Young"]
    lines = [f"{name}  {-1 if n % 2 else 1} {-1 if n % 3 else 1} -1" for n, name in enumerate(files)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(["60", " ".join(attributes), *lines]) + "\n")
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{name} {n // 20}\n" for n, name in enumerate(files))
    )
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} {n // 2}\n" for n, name in enumerate(files)))
    data = DataConfig(source="torchvision:CelebA", root=str(tmp_path), cache=str(tmp_path / "cache"))
    tasks: dict[str, TaskConfig] = {
        "male": BinaryTask(label="Male", positive=1),
        "shadow": BinaryTask(label="5_o_Clock_Shadow"),
    }
    found = prepare_data(data, tasks, seed=0)
    assert sizes(found) == {"train": 20, "val": 20, "test": 20}
    assert found.labels["male"].values.tolist() == [int(n % 3 == 0) for n in range(60)]
    assert found.labels["shadow"].values.tolist() == [int(n % 2 == 0) for n in range(60)]
    grouped = data.model_validate({**data.model_dump(), "split": {"group": "identity"}})
    assert sizes(prepare_data(grouped, tasks, seed=0)) == {"train": 48, "val": 6, "test": 6}


def test_flowers(tmp_path: Path) -> None:
    from scipy.io import savemat

    folder = tmp_path / "flowers-102"
    save(folder / "jpg", [f"image_{n:05d}.jpg" for n in range(1, 61)])
    savemat(folder / "imagelabels.mat", {"labels": np.arange(60)[None] % 2 + 1})
    ids = np.arange(1, 61)
    savemat(
        folder / "setid.mat", {"trnid": ids[None, :30], "valid": ids[None, 30:40], "tstid": ids[None, 40:]}
    )
    data = prepared(tmp_path, "Flowers102", "label")
    assert sizes(data) == {"train": 30, "val": 10, "test": 20}
    assert names(data, "label") == [str(n % 2 + 1) for n in range(60)]


def test_imagenet(tmp_path: Path) -> None:
    wnids = ("n01440764", "n01443537")
    save(tmp_path, [f"{part}/{wnids[n % 2]}/{n}.JPEG" for part in ("train", "val") for n in range(20)])
    with zipfile.ZipFile(tmp_path / "meta.bin", "w") as archive:
        words = {"n01440764": ("tench", "Tinca tinca"), "n01443537": ("goldfish",)}
        archive.writestr("meta/data.pkl", pickle.dumps((words, ["n01440764"]), 2))
        archive.writestr("meta/version", "3\n")
    data = prepared(tmp_path, "ImageNet", "label", "name", image_size=8)
    assert sizes(data) == {"train": 20, "val": 20, "test": 0}
    assert data.classes == {"label": wnids, "name": ("goldfish", "tench")}


def test_plain_trees(tmp_path: Path) -> None:
    save(tmp_path / "eurosat" / "2750", [f"{('River', 'Forest')[n % 2]}/{n}.jpg" for n in range(40)])
    assert sizes(prepared(tmp_path, "EuroSAT", "label")) == {"train": 32, "val": 4, "test": 4}
    below = tmp_path / "caltech101" / "101_ObjectCategories"
    save(below, [f"{('ant', 'cup', 'BACKGROUND_Google')[n % 3]}/image_{n:04d}.jpg" for n in range(60)])
    data = prepared(tmp_path, "Caltech101", "label")
    assert data.classes["label"] == ("ant", "cup")
    assert len(data.images) == 40


def write_pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    breeds = ("Abyssinian", "great_pyrenees")
    rows = [(f"{breeds[n % 2]}_{n}", n % 2 + 1) for n in range(TRAIN + TEST)]
    save(folder / "images", [f"{name}.jpg" for name, _ in rows])
    (folder / "annotations").mkdir()
    for part, chosen in (("trainval", rows[:TRAIN]), ("test", rows[TRAIN:])):
        lines = [f"{name} {label} {label} 1\n" for name, label in chosen]
        (folder / "annotations" / f"{part}.txt").write_text("".join(lines))


def write_aircraft(root: Path) -> None:
    folder = root / "fgvc-aircraft-2013b" / "data"
    save(folder / "images", [f"{n:07d}.jpg" for n in range(60)])
    values = {
        "variant": ("707-320", "A300B4"),
        "family": ("Boeing 707", "A300"),
        "manufacturer": ("Boeing", "Airbus"),
    }
    for level, (first, second) in values.items():
        plural = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}[level]
        (folder / f"{plural}.txt").write_text(f"{first}\n{second}\n")
        for part, start in (("train", 0), ("val", 20), ("test", 40)):
            lines = [f"{n:07d} {(first, second)[n % 2]}\n" for n in range(start, start + 20)]
            (folder / f"images_{level}_{part}.txt").write_text("".join(lines))


def write_food(root: Path) -> None:
    folder = root / "food-101"
    table = {
        label: [f"{label}/{n}" for n in range(25 * c, 25 * c + 25)]
        for c, label in enumerate(("apple_pie", "sushi"))
    }
    save(folder / "images", [f"{image}.jpg" for images in table.values() for image in images])
    (folder / "meta").mkdir()
    for part, rows in (("train", slice(0, 20)), ("test", slice(20, None))):
        content = json.dumps({label: images[rows] for label, images in table.items()})
        (folder / "meta" / f"{part}.json").write_text(content)


def write_dtd(root: Path) -> None:
    folder = root / "dtd" / "dtd"
    images = [f"{label}/{label}_{n:04d}.jpg" for n in range(30) for label in ("banded", "dotted")]
    save(folder / "images", images)
    (folder / "labels").mkdir()
    for p, part in enumerate(("train", "val", "test")):
        (folder / "labels" / f"{part}1.txt").write_text(
            "".join(f"{image}\n" for image in images[20 * p :][:20])
        )


def write_signs(root: Path) -> None:
    folder = root / "gtsrb"
    save(folder / "GTSRB" / "Training", [f"{n % 2:05d}/{n:05d}.ppm" for n in range(TRAIN)])
    save(folder / "GTSRB" / "Final_Test" / "Images", [f"{n:05d}.ppm" for n in range(TEST)])
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    lines += [f"{n:05d}.ppm;8;8;0;0;7;7;{n % 2}" for n in range(TEST)]
    (folder / "GT-final_test.csv").write_text("\n".join(lines) + "\n")


def write_cars(root: Path) -> None:
    from scipy.io import savemat

    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    savemat(
        folder / "devkit" / "cars_meta.mat", {"class_names": np.array(["BMW M3", "Audi A4"], dtype=object)}
    )
    for images, file, count in (
        ("cars_train", folder / "devkit" / "cars_train_annos.mat", TRAIN),
        ("cars_test", folder / "cars_test_annos_withlabels.mat", TEST),
    ):
        save(folder / images, [f"{n:05d}.jpg" for n in range(count)])
        kind = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
        rows = np.array([(1, n % 2 + 1, f"{n:05d}.jpg") for n in range(count)], dtype=kind)
        savemat(file, {"annotations": rows[None]})


WRITERS: dict[str, tuple[Callable[[Path], object], tuple[str, ...], dict[str, int]]] = {
    "OxfordIIITPet": (write_pets, ("category", "species"), {"train": 36, "val": 4, "test": 10}),
    "FGVCAircraft": (
        write_aircraft,
        ("variant", "family", "manufacturer"),
        {"train": 20, "val": 20, "test": 20},
    ),
    "Food101": (write_food, ("label",), {"train": 36, "val": 4, "test": 10}),
    "DTD": (write_dtd, ("label",), {"train": 20, "val": 20, "test": 20}),
    "GTSRB": (write_signs, ("label",), {"train": 36, "val": 4, "test": 10}),
    "StanfordCars": (write_cars, ("label",), {"train": 36, "val": 4, "test": 10}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_annotated_files(tmp_path: Path, name: str) -> None:
    write, columns, expected = WRITERS[name]
    write(tmp_path)
    data = prepared(tmp_path, name, *columns)
    assert sizes(data) == expected
    for column in columns:
        assert len(data.classes[column]) == 2
        assert data.labels[column].present.all()


def test_class_names_of_pets_and_planes(tmp_path: Path) -> None:
    write_pets(tmp_path)
    assert prepared(tmp_path, "OxfordIIITPet", "category", "species").classes == {
        "category": ("Abyssinian", "Great Pyrenees"),
        "species": ("cat", "dog"),
    }
    write_aircraft(tmp_path)
    assert prepared(tmp_path, "FGVCAircraft", "family").classes["family"] == ("A300", "Boeing 707")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["MNIST", "OxfordIIITPet", "FGVCAircraft", "Food101", "DTD", "GTSRB", "StanfordCars"]
)
def test_torchvision_reads_the_same(tmp_path: Path, name: str) -> None:
    """The oracle: torchvision finds the same number of images with the same partition into classes."""
    from torchvision import datasets

    if name == "MNIST":
        write_mnist(tmp_path / "MNIST" / "raw")
        options: list[dict[str, Any]] = [{"train": True}, {"train": False}]
    else:
        WRITERS[name][0](tmp_path)
        options = [{"split": split} for split in ("train", "val", "test")]
        if name == "OxfordIIITPet":
            options = [{"split": split} for split in ("trainval", "test")]
        if name in ("Food101", "GTSRB", "StanfordCars"):
            options = [{"split": split} for split in ("train", "test")]
    rows = read_torchvision(name, tmp_path)
    column = rows.column(next(iter(rows.columns)), "")
    ours = sorted(
        (np.asarray(picture(rows, row)).tobytes(), str(column.values[code]))
        for row, code in enumerate(column.codes.tolist())
    )
    theirs = []
    for option in options:
        for image, label in getattr(datasets, name)(str(tmp_path), download=False, **option):
            theirs.append((np.asarray(image).tobytes(), label))
    theirs.sort()
    assert [image for image, _ in ours] == [image for image, _ in theirs]
    same = {(one, int(other)) for (_, one), (_, other) in zip(ours, theirs, strict=True)}
    assert len(same) == len({one for one, _ in same}) == len({other for _, other in same})


def picture(rows: Any, row: int) -> Any:
    if hasattr(rows.images, "load"):
        return rows.images.load()[rows.images.rows[row]]
    return Image.open(rows.images.items[row]).convert("RGB")


def test_unknown_names_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Did you mean torchvision:CIFAR100\?") as caught:
        prepared(tmp_path, "CIFAR-100", "label")
    assert caught.value.key == "data.source"
    for name in READERS:
        with pytest.raises(DataError, match=f"torchvision:{name}: there is no") as caught:
            read_torchvision(name, tmp_path)
        assert caught.value.key == "data.root"
        assert str(tmp_path) in caught.value.message
