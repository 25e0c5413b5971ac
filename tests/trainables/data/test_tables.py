"""CSV and Parquet tables."""

import http.server
import os
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainables.data.pictures import ALL, COLOR, config, pixels, save, table, write_csv
from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask
from trainables.data import locations
from trainables.data.prepare import prepare_data
from trainables.errors import DataError


def colors(count: int) -> list[str]:
    return [("red", "green", "blue")[n % 3] for n in range(count)]


def contents(folder: Path, count: int) -> list[bytes]:
    save(folder / "made", [f"{n}.png" for n in range(count)])
    return [(folder / "made" / f"{n}.png").read_bytes() for n in range(count)]


def test_parquet_and_csv_give_the_same_data(tmp_path: Path) -> None:
    frame = pd.read_csv(table(tmp_path), dtype=str, keep_default_na=False)
    frame["logo"] = frame["logo"].map({"1": 1.0, "0": 0.0, "": None}).astype("Float64")
    frame["tags"] = [[tag for tag in cell.split("|") if tag] for cell in frame["tags"]]
    frame["color"] = frame["color"].astype("category")
    frame.to_parquet(tmp_path / "labels.parquet", row_group_size=7)
    one = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    other = prepare_data(config(tmp_path, source="labels.parquet"), ALL, seed=0, base=tmp_path)
    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("values", "missing", "classes"),
    [
        (pd.Series([1, 2, -1] * 10), [-1], ("1", "2")),
        (pd.Series([1.0, 2.0, -1.0] * 10), ["-1"], ("1", "2")),
        (pd.Series([1, 2, None] * 10), [], ("1", "2")),
        (pd.Series([1, 2, None] * 10, dtype="Int64"), [], ("1", "2")),
        (pd.Series([10, 9, 9.5] * 10), [9.5], ("9", "10")),
        (pd.Series([True, False, None] * 10, dtype="boolean"), [], ("false", "true")),
        (pd.Series(["b", " a ", "none"] * 10), ["none"], ("a", "b")),
    ],
    ids=["int", "float", "float with NaN", "nullable", "half", "bool", "text"],
)
def test_labels_of_any_type(
    tmp_path: Path, values: Any, missing: list[Any], classes: tuple[str, ...]
) -> None:
    save(tmp_path, [f"{n}.png" for n in range(30)])
    frame = pd.DataFrame({"path": [f"{n}.png" for n in range(30)], "label": values})
    frame.to_parquet(tmp_path / "labels.parquet")
    data = config(tmp_path, source="labels.parquet", missing=missing)
    found = prepare_data(data, {"t": MulticlassTask(label="label")}, seed=0, base=tmp_path)
    assert found.classes["t"] == classes
    assert int((~found.labels["t"].present).sum()) == 10


def test_lists_of_tags(tmp_path: Path) -> None:
    save(tmp_path, [f"{n}.png" for n in range(40)])
    tags = [([3, 1], [], None, [1])[n % 4] for n in range(40)]
    pq.write_table(
        pa.table({"path": [f"{n}.png" for n in range(40)], "tags": pa.array(tags, pa.list_(pa.int64()))}),
        tmp_path / "labels.parquet",
    )
    data = config(tmp_path, source="labels.parquet")
    found = prepare_data(data, {"t": MultilabelTask(label="tags")}, seed=0, base=tmp_path)
    assert found.classes["t"] == ("1", "3")
    assert int((~found.labels["t"].present).sum()) == 10
    assert found.labels["t"].values.sum(axis=0).tolist() == [20, 10]


def test_row_groups_are_read_in_order_and_once_in_every_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the hashes, once for the headers, once for the pixels, however many threads decode."""
    pq.write_table(
        pa.table({"image": contents(tmp_path, 400), "color": [str(n % 2) for n in range(400)]}),
        tmp_path / "labels.parquet",
        row_group_size=100,
    )
    read: list[int] = []
    really = pq.ParquetFile.read_row_group

    def counting(file: Any, group: int, **how: Any) -> Any:
        read.append(group)
        return really(file, group, **how)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    data = config(tmp_path, source="labels.parquet", image="image")
    assert len(prepare_data(data, COLOR, seed=0, base=tmp_path).images) == 400
    assert read == [0, 1, 2, 3] * 3


@pytest.mark.parametrize("struct", [False, True])
def test_encoded_images(tmp_path: Path, struct: bool) -> None:
    """Bytes in a binary column, or in structs of bytes and path as the Hugging Face hub has them."""
    cells: list[Any] = list(contents(tmp_path, 30))
    if struct:
        cells = [{"bytes": cell, "path": f"p{n:02d}.png"} for n, cell in enumerate(cells)]
    pq.write_table(
        pa.table({"image": cells, "color": colors(30)}), tmp_path / "labels.parquet", row_group_size=8
    )
    data = config(tmp_path, source="labels.parquet", image="image")
    found = prepare_data(data, COLOR, seed=0, base=tmp_path)
    seen = {image.tobytes(): found.classes["color"][label] for image, label in zip(
        np.asarray(found.images), found.labels["color"].values.tolist(), strict=True)}  # fmt: skip
    assert seen == {pixels(seed=n).transpose(2, 0, 1).tobytes(): colors(30)[n] for n in range(30)}
    assert (found.ids()[3] == "p03.png") == struct


def test_structs_without_bytes_name_files(tmp_path: Path) -> None:
    save(tmp_path, [f"{n}.png" for n in range(30)])
    cells = [{"bytes": None, "path": f"{n}.png"} for n in range(30)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(cells, kind), "color": colors(30)}), tmp_path / "labels.parquet"
    )
    data = config(tmp_path, source="labels.parquet", image="image")
    assert prepare_data(data, COLOR, seed=0, base=tmp_path).images.shape == (30, 3, 8, 8)


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    cells = contents(tmp_path, 31)
    data = config(tmp_path, source="labels.parquet", image="image")
    digests = []
    for chosen in (cells[:30], cells[1:31]):
        pq.write_table(pa.table({"image": chosen, "color": colors(30)}), tmp_path / "labels.parquet")
        digests.append(prepare_data(data, COLOR, seed=0, base=tmp_path).digest)
    assert digests[0] != digests[1]


def test_root_may_be_elsewhere_and_paths_absolute(tmp_path: Path) -> None:
    save(tmp_path / "store", [f"{n}.png" for n in range(30)])
    paths = [f"{n}.png" if n % 2 else str(tmp_path / "store" / f"{n}.png") for n in range(29)]
    paths.append((tmp_path / "store" / "29.png").as_uri())
    write_csv(tmp_path / "tables" / "labels.csv", {"path": paths, "color": colors(30)})
    data = config(tmp_path, source="tables/labels.csv", root="store")
    assert len(prepare_data(data, COLOR, seed=0, base=tmp_path).images) == 30


def test_links_inside_the_root_are_followed(tmp_path: Path) -> None:
    save(tmp_path / "all", [f"{n}.png" for n in range(30)])
    (tmp_path / "linked").symlink_to(tmp_path / "all")
    write_csv(tmp_path / "labels.csv", {"path": [f"linked/{n}.png" for n in range(30)], "color": colors(30)})
    assert len(prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path).images) == 30


def test_semicolons_tabs_and_byte_order_marks(tmp_path: Path) -> None:
    table(tmp_path)
    plain = (tmp_path / "labels.csv").read_text("utf-8")
    (tmp_path / "semi.csv").write_text(plain.replace(",", ";"), "utf-8-sig")
    (tmp_path / "tabs.tsv").write_text(plain.replace(",", "\t"), "utf-8")
    digests = {
        prepare_data(config(tmp_path, source=name), ALL, seed=0, base=tmp_path).digest
        for name in ("labels.csv", "semi.csv", "tabs.tsv")
    }
    assert len(digests) == 1


REQUESTS: list[str] = []
"""What the web server was asked for."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server with the folder `site`."""
    REQUESTS.clear()
    (tmp_path / "site").mkdir()

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: Any) -> None:
            REQUESTS.append(f"{self.command} {self.path}")

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Silent, directory=tmp_path / "site")
    ) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_uris(tmp_path: Path, web: str) -> None:
    """Some images on the web, some in memory, some here; what could not be fetched is tried again."""
    save(tmp_path / "site", [f"{n}.png" for n in range(10)])
    save(tmp_path, [f"{n}.png" for n in range(30)])
    memory = fsspec.filesystem("memory")
    for n in range(10, 20):
        memory.pipe_file(f"memory://pictures/{n}.png", (tmp_path / f"{n}.png").read_bytes())
    missing = (tmp_path / "site" / "4.png").rename(tmp_path / "away.png")
    paths = [f"{web}/{n}.png" for n in range(10)]
    paths += [f"memory://pictures/{n}.png" for n in range(10, 20)] + [f"{n}.png" for n in range(20, 30)]
    write_csv(tmp_path / "labels.csv", {"path": paths, "color": colors(30)})
    data = config(tmp_path, unreadable="drop")
    time.sleep(0.06)  # files are then old enough for their times to be trusted
    found = prepare_data(data, COLOR, seed=0, base=tmp_path)
    assert sum(found.dropped.values()) == 1
    missing.rename(tmp_path / "site" / "4.png")
    found = prepare_data(data, COLOR, seed=0, base=tmp_path)
    assert sum(found.dropped.values()) == 0
    for row, name in enumerate(found.ids()):
        assert np.array_equal(
            np.asarray(found.images)[row], pixels(seed=int(Path(name).stem)).transpose(2, 0, 1)
        )


def test_an_image_on_the_web_is_fetched_once(tmp_path: Path, web: str) -> None:
    save(tmp_path / "site", [f"{n}.png" for n in range(30)])
    paths = [*(f"{web}/{n}.png" for n in range(30)), f"{web}/none.png"]
    write_csv(tmp_path / "labels.csv", {"path": paths, "color": colors(31)})
    prepare_data(config(tmp_path, unreadable="drop"), COLOR, seed=0, base=tmp_path)
    assert sorted(REQUESTS) == sorted([*(f"GET /{n}.png" for n in range(30)), "GET /none.png"])
    assert not list((tmp_path / "cache").rglob("fetched"))


def test_what_is_too_large_is_not_fetched(tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "LARGEST_BYTES", 2 << 20)
    (tmp_path / "site" / "0.png").write_bytes(bytes(5 << 20))
    save(tmp_path, [f"{n}.png" for n in range(28)])
    fsspec.filesystem("memory").pipe_file("memory://large/2.png", bytes(5 << 20))
    paths = [f"{web}/0.png", "memory://large/2.png", *(f"{n}.png" for n in range(28))]
    write_csv(tmp_path / "labels.csv", {"path": paths, "color": colors(30)})
    with pytest.raises(
        DataError, match=r"2 of 30 images(.|\n)*more than 2 MB(.|\n)*more than 2 MB"
    ) as caught:
        prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path)
    assert caught.value.key == "data.unreadable"
    (tmp_path / "site" / "labels.csv").write_bytes(bytes(5 << 20))
    with pytest.raises(DataError, match="more than 2 MB") as caught:
        prepare_data(config(tmp_path, source=f"{web}/labels.csv"), COLOR, seed=0, base=tmp_path)
    assert caught.value.key == "data.source"


def test_a_dead_link_does_not_fill_the_disk(tmp_path: Path, web: str) -> None:
    """Every run tries it again, and none leaves another copy of all images."""
    save(tmp_path / "site", [f"{n}.png" for n in range(30)])
    paths = [*(f"{web}/{n}.png" for n in range(30)), f"{web}/none.png"]
    write_csv(tmp_path / "labels.csv", {"path": paths, "color": colors(31)})
    digests = set()
    for _ in range(3):
        digests.add(prepare_data(config(tmp_path, unreadable="drop"), COLOR, seed=0, base=tmp_path).digest)
    assert REQUESTS.count("GET /none.png") == 3
    assert len(digests) == 1
    (kept,) = (tmp_path / "cache" / "images").iterdir()
    # One of another failure, long ago.
    old = kept.with_name(f"{kept.name.split('-')[0]}-01234567")
    shutil.copytree(kept, old)
    for path in (*old.iterdir(), old):
        os.utime(path, (0, 0))
    prepare_data(config(tmp_path, unreadable="drop"), COLOR, seed=0, base=tmp_path)
    assert list((tmp_path / "cache" / "images").iterdir()) == [kept]


def test_numbers_and_booleans_of_the_config_mean_what_they_look_like(tmp_path: Path) -> None:
    table(tmp_path, flag=[("True", "False")[n % 2] for n in range(60)])
    task = BinaryTask.model_validate({"label": "flag", "positive": False})
    found = prepare_data(config(tmp_path, keep={"logo": [1, 0]}), {"f": task}, seed=0, base=tmp_path)
    assert found.classes["f"] == ("true", "false")
    assert len(found.images) == 40
