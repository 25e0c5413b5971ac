"""Builtin data, IDX files and class folders."""

import gzip
import hashlib
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.data.pictures import pixels, save
from trainables.config.data import DataConfig
from trainables.config.tasks import MulticlassTask
from trainables.data.idx import read_idx
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedData
from trainables.errors import DataError

LABEL = {"t": MulticlassTask(label="label")}
PAIR = {"left": MulticlassTask(label="left"), "right": MulticlassTask(label="right")}


def prepared(tmp_path: Path, source: str, **further: object) -> PreparedData:
    data = DataConfig.model_validate({"source": source, "cache": str(tmp_path / "cache"), **further})
    return prepare_data(data, LABEL, seed=0, base=tmp_path)


def test_digits_pair(tmp_path: Path) -> None:
    data = prepare_data(
        DataConfig(source="builtin:digits-pair", cache=str(tmp_path)), PAIR, seed=5, base=tmp_path
    )
    assert data.images.shape == (18_000, 1, 12, 12)
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 12_000,
        "val": 2_000,
        "test": 4_000,
    }
    assert data.classes["left"] == data.classes["right"] == tuple("0123456789")
    assert np.asarray(data.images).max() == 255
    # No digit is in two splits: corners where only one of the two lies tell them apart.
    corners = [{image[0, :4, :4].tobytes() + image[0, :8, :4].tobytes() for image in data.images[rows]}
               for rows in data.splits.values()]  # fmt: skip
    assert len(corners[0]) > 1000
    again = prepare_data(
        DataConfig(source="builtin:digits-pair", cache=str(tmp_path)), PAIR, seed=6, base=tmp_path
    )
    assert again.digest == data.digest  # its split is its own


def test_preparing_imports_nothing_heavy(tmp_path: Path) -> None:
    """The driver of a search prepares data: it must not pay for torch, and the second time not for Pillow."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from trainables.config.data import DataConfig\n"
        "from trainables.config.tasks import MulticlassTask\n"
        "from trainables.data.prepare import prepare_data\n"
        f"data = DataConfig(source='builtin:digits-pair', cache={str(tmp_path)!r})\n"
        "prepare_data(data, {'left': MulticlassTask(label='left')}, seed=0)\n"
        "print(*sorted(sys.modules))\n"
    )
    heavy = {"torch", "torchvision", "pandas", "pyarrow", "sklearn", "scipy", "fsspec", "ray", "mlflow"}
    for further in (set(), {"PIL", "filelock"}):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not (heavy | further) & set(done.stdout.split())


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.mark.parametrize("zipped", [False, True])
def test_idx(tmp_path: Path, zipped: bool) -> None:
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 100), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 6, 5), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 3
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            content = idx(array)
            (tmp_path / (f"{name}.gz" if zipped else name)).write_bytes(
                gzip.compress(content) if zipped else content
            )
    data = prepared(tmp_path, f"idx:{tmp_path}")
    assert data.images.shape == (120, 1, 6, 5)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 90, "val": 10, "test": 20}
    assert np.array_equal(np.asarray(data.images)[data.splits["test"], 0], images)
    assert data.labels["t"].values.tolist() == [n % 3 for n in range(100)] + [n % 3 for n in range(20)]


def test_a_packed_idx_file_is_not_unpacked_beyond_what_it_promises(tmp_path: Path) -> None:
    file = tmp_path / "labels.gz"
    file.write_bytes(gzip.compress(idx(np.zeros(10, np.uint8)) + bytes(200 << 20)))
    tracemalloc.start()
    with pytest.raises(DataError, match="says it holds 10 bytes, but has more"):
        read_idx(file, 1)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_that_promises_more_than_any_memory(tmp_path: Path, packed: bool) -> None:
    content = bytes((0, 0, 8, 3)) + b"\xff" * 12 + bytes(100)
    file = tmp_path / ("images.gz" if packed else "images")
    file.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match="but has 100"):
        read_idx(file, 3)


def test_class_folders(tmp_path: Path) -> None:
    save(tmp_path / "tree", [f"{('cat', 'dog')[n % 2]}/{n}.png" for n in range(40)])
    save(tmp_path / "tree", ["cat/deeper/x.png", "cat/.hidden.png", "dog/notes.txt.png"])
    (tmp_path / "tree" / "cat" / "notes.txt").write_text("not an image")
    data = prepared(tmp_path, "tree")
    assert len(data.images) == 42
    assert data.classes["t"] == ("cat", "dog")
    assert "cat/deeper/x.png" in data.ids()
    assert len(data.splits["test"]) == 4


def test_split_folders(tmp_path: Path) -> None:
    parts = ["train"] * 6 + ["valid", "Test"]
    save(tmp_path / "tree", [f"{parts[n % 8]}/{('cat', 'dog')[n // 8 % 2]}/{n}.png" for n in range(80)])
    data = prepared(tmp_path, "tree")
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 60, "val": 10, "test": 10}
    redrawn = prepared(tmp_path, "tree", split={})
    assert {name: len(rows) for name, rows in redrawn.splits.items()} == {"train": 64, "val": 8, "test": 8}


def test_a_class_called_test_is_a_class(tmp_path: Path) -> None:
    save(tmp_path / "tree", [f"{('test', 'dog')[n % 2]}/{n}.png" for n in range(40)])
    assert prepared(tmp_path, "tree").classes["t"] == ("dog", "test")


def test_a_new_file_in_a_tree_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "tree", [f"{('cat', 'dog')[n % 2]}/{n}.png" for n in range(40)])
    assert len(prepared(tmp_path, "tree").images) == 40
    save(tmp_path / "tree", ["cat/new.png"])
    assert len(prepared(tmp_path, "tree").images) == 41


def test_pixels_of_trees_are_those_of_their_files(tmp_path: Path) -> None:
    save(tmp_path / "tree", [f"{('cat', 'dog')[n % 2]}/{n}.png" for n in range(40)])
    data = prepared(tmp_path, "tree")
    for row, name in enumerate(data.ids()):
        assert np.array_equal(
            np.asarray(data.images)[row], pixels(seed=int(Path(name).stem)).transpose(2, 0, 1)
        )


def test_hash_of_the_builtin_data_is_the_pinned_one(tmp_path: Path) -> None:
    from trainables.data.builtin import SHA256, _digits_file, compose

    images, left, right = compose(_digits_file())
    assert hashlib.sha256(images.tobytes() + left.tobytes() + right.tobytes()).hexdigest() == SHA256
