"""Every kind of bad input ends with one clear message, the right exit code, and nothing half-written."""

import csv
import re
import resource
import signal
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from orchestrator.cli import app
from tests.bad_input.cases import (
    DATA,
    DATA_CASES,
    FILE_CASES,
    GOOD,
    SINGLE,
    SOURCE_DATA_CASES,
    SOURCE_FILE_CASES,
    SOURCES,
    Case,
)

COLORS = ("red", "green", "blue")
JARGON = re.compile(
    r"Traceback|pydantic|tagged-union|function-(before|after|wrap)|Input should|literal\[|constrained-|type=|"
    r"ctx|NoneType|\bstr\b|\bint\b(?! \[)|\bdict\b|ValueError|KeyError|is needed\. is|\.\."
)
"""What only a programmer would say."""


def write_table(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "color", "logo", "same", "nothing", "all_train"])
        writer.writeheader()
        writer.writerows(rows)


def bomb() -> bytes:
    """A PNG of 200 bytes that says it holds 900 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty small images, a good table of them, and several bad ones."""
    folder = tmp_path_factory.mktemp("project")
    images = folder / "images"
    images.mkdir()
    rows = []
    for number in range(30):
        color = COLORS[number % 3]
        size = (8, 8) if number else (12, 8)
        Image.new("RGB", size, color).save(images / f"{number}.png")
        rows.append(
            {
                "path": f"{number}.png",
                "color": color,
                "logo": str(number // 3 % 2),
                "same": "x",
                "nothing": "",
                "all_train": "train",
            }
        )
    write_table(folder / "labels.csv", rows)
    Image.effect_noise((64, 64), 50).save(images / "cut.png")
    (images / "cut.png").write_bytes((images / "cut.png").read_bytes()[:1500])
    (images / "bomb.png").write_bytes(bomb())
    for name, path in {
        "truncated": "cut.png",
        "bomb": "bomb.png",
        "gone": "gone.png",
        "outside": "../labels.csv",
        "absolute": "/etc/hostname",
    }.items():
        write_table(folder / f"{name}.csv", [*rows, {**rows[0], "path": path}])
    write_table(folder / "empty.csv", [])
    (folder / "ragged.csv").write_text("path,color,logo\n0.png,red,1\n1.png,red\n")
    (folder / "fake.parquet").write_bytes(b"PAR1 it is not")
    return folder


@pytest.fixture
def run(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> CliRunner:
    monkeypatch.chdir(project)
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path_factory.getbasetemp() / "bad-input-cache"))
    return CliRunner()


def check(run: CliRunner, text: str, *arguments: str) -> Result:
    Path("tiny.yaml").write_text(text)
    return run.invoke(app, ["check", "tiny.yaml", *arguments])


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def judge(result: Result, case: Case) -> None:
    text = result.stderr + result.stdout
    assert result.exit_code == case.code, text
    assert result.exception is None or isinstance(result.exception, SystemExit)
    for fragment in case.says:
        assert fragment in text, text
    without_paths = re.sub(r"\S*/\S*|\d\.\d+\.\.\.", "", text)
    assert not JARGON.search(without_paths.replace("...", "")), text


def changed(case: Case) -> str:
    assert case.old in GOOD, "the table does not fit the file"
    return GOOD.replace(case.old, case.new, 1) if case.old else GOOD


def test_the_good_file_is_good(run: CliRunner) -> None:
    result = check(run, GOOD)
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "ready to train" in result.stdout


@pytest.mark.parametrize("case", FILE_CASES + SOURCE_FILE_CASES, ids=lambda case: case.name)
def test_the_file(case: Case, run: CliRunner, project: Path) -> None:
    before = files(project)
    overrides = [part for override in case.overrides for part in ("-s", override)]
    judge(check(run, changed(case), "--config-only", *overrides), case)
    before[project / "tiny.yaml"] = changed(case).encode()
    assert files(project) == before


@pytest.mark.parametrize("case", DATA_CASES + SOURCE_DATA_CASES, ids=lambda case: case.name)
def test_the_data(case: Case, run: CliRunner, project: Path) -> None:
    before = files(project)
    judge(check(run, changed(case)), case)
    before[project / "tiny.yaml"] = changed(case).encode()
    assert files(project) == before


def test_all_errors_come_at_once_and_in_order(run: CliRunner) -> None:
    text = (
        GOOD.replace("epochs: 20", "epoch: 20")
        .replace("seed: 1", "seed: -1")
        .replace("[color.acc", "[colr.acc")
    )
    result = check(run, text, "--config-only")
    lines = result.stderr.splitlines()
    assert "3 errors in tiny.yaml" in lines[0]
    assert [line.split(": ")[1] for line in lines[1:4]] == ["seed", "training.epoch", "search.objectives[0]"]


def test_a_damaged_source_says_nothing_of_the_tasks_it_may_have(run: CliRunner) -> None:
    text = GOOD.replace(
        SINGLE, SOURCES.replace("{name: two, source: labels.csv, root: images, tasks: [logo]}", "5")
    )
    result = check(run, text, "--config-only")
    (line,) = result.stderr.splitlines()
    assert "data.sources[1]: 5 is a whole number" in line


def test_no_such_file(run: CliRunner) -> None:
    Path("tiny.yaml").write_text(GOOD)
    result = run.invoke(app, ["check", "tniy.yaml"])
    assert result.exit_code == 2
    assert "tniy.yaml: no such file" in result.stderr
    assert "Did you mean tiny.yaml?" in result.stderr


def test_a_folder_as_file(run: CliRunner) -> None:
    result = run.invoke(app, ["check", "images"])
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


@contextmanager
def no_space(limit: int) -> Iterator[None]:
    """Writes beyond `limit` bytes per file fail, as they do on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_space_for_the_cache(run: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "cache"))
    Path("tiny.yaml").write_text(GOOD)
    with no_space(1000):
        result = run.invoke(app, ["check", "tiny.yaml"])
    assert result.exit_code == DATA, result.stdout + result.stderr
    assert "no space" in result.stdout
    assert "EQUIPOISE_CACHE" in result.stdout
    result = run.invoke(app, ["check", "tiny.yaml"])  # what was left behind does no harm
    assert result.exit_code == 0, result.stdout


def test_init_never_replaces_a_file(run: CliRunner) -> None:
    Path("mine.yaml").write_text("mine")
    result = run.invoke(app, ["init", "labels.csv", "-o", "mine.yaml"])
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert Path("mine.yaml").read_text() == "mine"
    Path("mine.yaml").unlink()


@pytest.mark.parametrize(
    ("sources", "code", "says"),
    [
        (["nowhere.csv"], DATA, "nowhere.csv"),
        (["nowhere"], DATA, "nowhere"),
        (["a=nowhere"], DATA, "nowhere"),
        (["labels.csv", "bomb.csv"], 2, "NAME=FOLDER"),
        (["a=images", "a=images"], 2, "same name"),
        (["empty.csv"], DATA, "labels.csv"),
        (["ragged.csv"], DATA, "line 3"),
        (["fake.parquet"], DATA, "not a Parquet table"),
        (["builtin:nothing"], DATA, "digits-pair"),
    ],
)
def test_init_of_what_is_not_there(
    sources: list[str], code: int, says: str, run: CliRunner, project: Path
) -> None:
    before = files(project)
    result = run.invoke(app, ["init", *sources, "-o", "new.yaml"])
    assert result.exit_code == code, result.stdout + result.stderr
    if sources != ["empty.csv"]:
        assert says in result.stderr
    assert not JARGON.search(re.sub(r"\S*/\S*", "", result.stderr)), result.stderr
    assert files(project) == before
