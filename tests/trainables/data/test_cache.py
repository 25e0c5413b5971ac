"""Decode once: what the cache promises."""

import errno
import importlib.metadata
import mmap
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.disks import full, small_disk, used
from tests.trainables.data.pictures import ALL, COLOR, config, pixels, save, table
from trainables.data.cache import Cache, save_array
from trainables.data.chunks import Wanted
from trainables.data.decode import DecodedImages, decode_all
from trainables.data.prepare import prepare_data
from trainables.data.prepared import load_prepared
from trainables.data.rows import EncodedImages
from trainables.errors import DataError


class Decoded:
    """Counts images as they are decoded, by way of `progress`."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, done: int, _: int) -> None:
        self.images = done


def settle() -> None:
    """Wait until files are old enough for their times to be trusted."""
    time.sleep(0.06)


def bytes_read() -> int:
    """By this process, from anything."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's count of bytes read")
def test_a_second_run_decodes_nothing_and_reads_no_image(tmp_path: Path) -> None:
    table(tmp_path)
    save(tmp_path, [f"images/{n:04d}.png" for n in range(60)], size=(64, 64))
    settle()
    first = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    decoded, before, began = Decoded(), bytes_read(), time.perf_counter()
    second = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path, progress=decoded)
    assert time.perf_counter() - began < 0.1  # milliseconds, on a machine that has nothing else to do
    assert (
        bytes_read() - before < 64 * 64 * 3 * 10
    )  # labels and file names, of images that fill 60 times this
    assert decoded.images == 0
    assert second.digest == first.digest
    assert np.array_equal(np.asarray(second.images), np.asarray(first.images))


def test_other_tasks_splits_and_seeds_decode_nothing(tmp_path: Path) -> None:
    table(tmp_path)
    decoded = Decoded()
    prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path, progress=decoded)
    assert decoded.images == 60
    decoded.images = 0
    prepare_data(config(tmp_path), ALL, seed=1, base=tmp_path, progress=decoded)
    prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path, progress=decoded)
    fractions = {"train": 0.5, "val": 0.5, "test": 0}
    prepare_data(config(tmp_path, split=fractions), ALL, seed=0, base=tmp_path, progress=decoded)
    assert decoded.images == 0


def test_the_same_contents_elsewhere_decode_nothing(tmp_path: Path) -> None:
    table(tmp_path / "a")
    table(tmp_path / "b")
    prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path / "a")
    decoded = Decoded()
    prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path / "b", progress=decoded)
    assert decoded.images == 0


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_changed_image_is_noticed(tmp_path: Path, keep_times: bool) -> None:
    table(tmp_path)
    settle()
    first = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    file = tmp_path / "images" / "0003.png"
    before = file.stat()
    save(tmp_path, ["other.png", "images/0003.png"])  # another picture, of as many bytes
    if keep_times:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    assert second.digest != first.digest
    row = second.ids().index("images/0003.png")
    assert np.array_equal(np.asarray(second.images)[row], pixels(seed=1).transpose(2, 0, 1))
    # What was prepared before is still what it was.
    assert np.array_equal(
        np.asarray(load_prepared(first.directory).images)[row], pixels(seed=3).transpose(2, 0, 1)
    )


def test_a_changed_table_is_noticed(tmp_path: Path) -> None:
    file = table(tmp_path)
    settle()
    first = prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path)
    file.write_text(file.read_text().replace("red", "tan"))
    assert prepare_data(config(tmp_path), COLOR, seed=0, base=tmp_path).digest != first.digest


@pytest.mark.parametrize("left", [40, 0])
def test_a_cache_that_was_cleared_in_part_is_made_again(left: int, tmp_path: Path) -> None:
    table(tmp_path)
    settle()
    first = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    for part in (
        "images/*/images.npy",
        "images/*/sums.npy",
        "images/*/meta.json",
        "prepared/*/split.train.npy",
        "prepared/*/meta.json",
        "requests/*",
        "sources/*",
    ):
        for file in (tmp_path / "cache").glob(part):
            file.write_bytes(file.read_bytes()[:left])
        again = prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
        assert again.digest == first.digest
        assert np.asarray(again.images)[:].any()


def prepare_in_child(folder: Path, results: "multiprocessing.Queue[tuple[str, int]]") -> None:
    decoded = Decoded()
    data = prepare_data(config(folder), ALL, seed=0, base=folder, progress=decoded)
    results.put((data.digest, decoded.images))


def test_several_processes_decode_once(tmp_path: Path) -> None:
    table(tmp_path, 300)
    spawn = multiprocessing.get_context("fork")
    results = spawn.Queue()
    workers = [spawn.Process(target=prepare_in_child, args=(tmp_path, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert len({digest for digest, _ in found}) == 1
    assert sorted(images for _, images in found) == [0, 0, 300]


def test_without_locks_the_slower_process_takes_what_is_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fill(folder: Path, text: str) -> str:
        (folder / "file").write_text(text)
        return "-end"

    def slowly(folder: Path) -> str:
        cache.add_folder("images/key", lambda other: fill(other, "faster"), whole)
        return fill(folder, "slower")

    def whole(folder: Path) -> bool:
        return (folder / "file").read_text() != ""

    made = cache.add_folder("images/key", slowly, whole)
    assert made == tmp_path / "images" / "key-end"
    assert (made / "file").read_text() == "faster"
    (made / "file").write_text("")  # damaged since
    assert cache.add_folder("images/key", lambda folder: fill(folder, "again"), whole) == made
    assert (made / "file").read_text() == "again"
    assert list((tmp_path / "images").iterdir()) == [made]


def test_scratch_of_killed_processes_is_removed_after_a_day(tmp_path: Path) -> None:
    for name, age in ((".dead.1", 100_000), (".alive.2", 100)):
        file = tmp_path / "images" / name / "images.npy"
        file.parent.mkdir(parents=True)
        file.write_text("")
        for path in (file, file.parent):
            os.utime(path, (time.time() - age, time.time() - age))
    Cache(tmp_path).add_folder("images/key", lambda _: None, lambda _: True)
    assert {path.name for path in (tmp_path / "images").iterdir()} == {".alive.2", "key"}


class Failing:
    """Reads pictures of 4 × 4; those in `errors` fail as that says."""

    def __init__(self, folder: Path) -> None:
        save(folder, [f"{n}.png" for n in range(4)], size=(4, 4))
        self.files = [folder / f"{n}.png" for n in range(4)]
        self.errors: dict[int, OSError] = {}

    def __call__(self, file: Path) -> bytes:
        if (error := self.errors.get(int(file.stem))) is not None:
            raise error
        return file.read_bytes()

    def decode(self, folder: Path) -> DecodedImages:
        return decode_all(Cache(folder), EncodedImages(self.files, self), Wanted(None, None, 1000))


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_failure_to_read_that_may_pass_is_not_remembered(tmp_path: Path, number: int) -> None:
    source = Failing(tmp_path)
    settle()
    source.errors[2] = OSError(number, "not now")
    found = source.decode(tmp_path / "cache")
    assert found.unreadable == {2: "not now"}
    assert not found.lasting
    source.errors.clear()
    assert source.decode(tmp_path / "cache").unreadable == {}


def test_a_missing_file_is_remembered(tmp_path: Path) -> None:
    source = Failing(tmp_path)
    source.errors[2] = FileNotFoundError(errno.ENOENT, "gone")
    found = source.decode(tmp_path / "cache")
    assert found.unreadable == {2: "no such file"}
    assert found.lasting


def test_another_pillow_judges_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path)
    settle()
    prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "99")
    decoded = Decoded()
    prepare_data(config(tmp_path), ALL, seed=0, base=tmp_path, progress=decoded)
    assert decoded.images == 60


def test_an_image_unlike_its_header_is_unreadable(tmp_path: Path) -> None:
    save(tmp_path, ["a.png", "b.png"])
    save(tmp_path, ["c.png"], size=(8, 9))
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    asked: list[Path] = []

    def read(file: Path) -> bytes:
        asked.append(file)
        second = asked.count(files[1]) == 2
        return (tmp_path / "c.png" if second and file == files[1] else file).read_bytes()

    found = decode_all(Cache(tmp_path / "cache"), EncodedImages(files, read), Wanted(None, None, 1000))
    assert found.shape == (2, 3, 8, 8)
    assert found.unreadable == {1: "it is 8 × 9 pixels, but its header says otherwise"}


def test_large_images_are_decoded_a_few_at_a_time(tmp_path: Path) -> None:
    table(tmp_path, 24)
    steps = [0]
    tracemalloc.start()
    data = config(tmp_path, image_size=1024)
    prepare_data(data, COLOR, seed=0, base=tmp_path, progress=lambda done, _: steps.append(done))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(np.diff(steps)) * 3 * 1024**2 <= 64 << 20
    assert peak < 256 << 20


def left_over(cache: Path) -> list[str]:
    """What a failed run must not leave: anything but locks."""
    return [str(path) for path in cache.rglob("*") if path.is_file() and path.parent.name != "locks"]


def test_no_space(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    table(tmp_path)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.trainables.data.pictures import COLOR, config\n"
        "from trainables.errors import DataError\n"
        "from trainables.data.prepare import prepare_data\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "folder = Path(sys.argv[1])\n"
        "try:\n"
        "    prepare_data(config(folder), COLOR, seed=0, base=folder)\n"
        "except DataError as error:\n"
        "    print(error.key, error.message, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("data.cache")
    assert "no space" in done.stdout
    assert "EQUIPOISE_CACHE" in done.stdout
    assert left_over(tmp_path / "cache") == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        yield disk


def test_a_full_disk(tmp_path: Path, tiny_disk: Path) -> None:
    table(tmp_path)
    data = config(tmp_path, image_size=64, cache=str(tiny_disk))
    with pytest.raises(DataError, match="no space") as caught:
        prepare_data(data, COLOR, seed=0, base=tmp_path)
    assert caught.value.key == "data.cache"
    assert left_over(tiny_disk) == []
    small = config(tmp_path, image_size=4, cache=str(tiny_disk))
    assert len(prepare_data(small, COLOR, seed=0, base=tmp_path).images) == 60


def test_wherever_the_disk_becomes_full(tmp_path: Path) -> None:
    """While images are decoded, or their sums, labels, splits or names are written: the same message, nothing half."""
    table(tmp_path)
    settle()
    with small_disk(tmp_path / "disk", kilobytes=512) as disk:
        data = config(tmp_path, image_size=16, cache=str(disk / "cache"))
        whole = prepare_data(data, COLOR, seed=0, base=tmp_path)
        needed = used(disk)
        for room in range(0, needed, mmap.PAGESIZE):
            shutil.rmtree(disk / "cache")
            with full(disk, room):
                with pytest.raises(DataError, match="no space") as caught:
                    prepare_data(data, COLOR, seed=0, base=tmp_path)
                assert caught.value.key == "data.cache"
                assert list((disk / "cache").rglob(".*")) == [], room
            assert prepare_data(data, COLOR, seed=0, base=tmp_path).digest == whole.digest


def test_an_array_that_does_not_fit_says_why(tiny_disk: Path) -> None:
    values = np.arange(20_000, dtype=np.uint16)
    with full(tiny_disk, mmap.PAGESIZE), pytest.raises(OSError, match="No space left") as caught:
        save_array(tiny_disk / "values.npy", values)
    assert caught.value.errno == errno.ENOSPC
    save_array(tiny_disk / "values.npy", values)
    assert np.array_equal(np.load(tiny_disk / "values.npy"), values)


def test_a_read_only_cache(tmp_path: Path, tiny_disk: Path) -> None:
    """It serves what it has, and says so when it would have to be written."""
    table(tmp_path)
    settle()
    data = config(tmp_path, image_size=4, cache=str(tiny_disk))
    first = prepare_data(data, COLOR, seed=0, base=tmp_path)
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    assert prepare_data(data, COLOR, seed=0, base=tmp_path).digest == first.digest
    with pytest.raises(DataError, match=r"[Rr]ead-only") as caught:
        prepare_data(data, COLOR, seed=1, base=tmp_path)
    assert caught.value.key == "data.cache"
    subprocess.run(["mount", "-o", "remount,rw", tiny_disk], check=True)


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    table(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written") as caught:
        prepare_data(config(tmp_path, cache="file"), COLOR, seed=0, base=tmp_path)
    assert caught.value.key == "data.cache"


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path)
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "named"))
    data = prepare_data(config(tmp_path, cache=None), COLOR, seed=0, base=tmp_path)
    assert data.directory.is_relative_to(tmp_path / "named")
    monkeypatch.delenv("EQUIPOISE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = prepare_data(config(tmp_path, cache=None), COLOR, seed=0, base=tmp_path)
    assert data.directory.is_relative_to(tmp_path / "home" / ".cache" / "equipoise")
