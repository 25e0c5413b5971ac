"""Whatever a table holds, it becomes data with the right masks or a DataError that a person can read."""

import io
import re
from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.damage import damaged, examples
from tests.fuzz.test_images import encoded
from tests.trainables.data.pictures import save
from trainables.config.data import DataConfig
from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask, TaskConfig
from trainables.data.prepare import prepare_data
from trainables.errors import DataError

COUNT = 12
TASKS: dict[str, TaskConfig] = {
    "color": MulticlassTask(label="color"),
    "tags": MultilabelTask(label="tags"),
    "logo": BinaryTask(label="logo", positive="1"),
}
JARGON = re.compile(r"Traceback|pandas|KeyError|ValueError|NoneType|codec|pyarrow\.lib|ArrowInvalid")
CELLS = st.one_of(
    st.sampled_from(
        ["", "NA", "red", "blue", "1", "0", "-1", "a|b", "|", "nan", "1.0", " red", "Red", "\0", "é"]
    ),
    st.text(max_size=6),
)
PATHS = st.one_of(
    st.integers(0, COUNT - 1).map(lambda n: f"i/{n}.png"),
    st.sampled_from(
        [
            "",
            "../secret.png",
            "/etc/passwd",
            "i/none.png",
            "ftp://x/y.png",
            "file:///etc/passwd",
            "i",
            "i/../i/1.png",
        ]
    ),
)
ROWS = st.lists(st.tuples(PATHS, CELLS, CELLS, CELLS), min_size=0, max_size=14)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a cache that all examples share."""
    made = tmp_path_factory.mktemp("tables")
    save(made, [f"i/{n}.png" for n in range(COUNT)])
    return made


def prepare(folder: Path, name: str, unreadable: str) -> None:
    """Data whose masks fit, or a message."""
    section = {
        "source": name,
        "image": "path",
        "image_size": 8,
        "cache": str(folder / "cache"),
        "unreadable": unreadable,
    }
    try:
        data = prepare_data(DataConfig.model_validate(section), TASKS, seed=0, base=folder)
    except DataError as error:
        assert error.message
        assert not JARGON.search(error.message), error.message
        return
    assert len(data.images) == sum(len(rows) for rows in data.splits.values()) + sum(data.dropped.values())
    for task, labels in data.labels.items():
        assert len(labels.present) == len(data.images)
        assert labels.present[data.splits["train"]].any(), f"{task} has nothing to learn from"


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS, unreadable=st.sampled_from(["error", "drop"]))
def test_any_cells_become_data_or_are_explained(
    folder: Path, rows: list[tuple[str, ...]], unreadable: str
) -> None:
    frame = pd.DataFrame(rows, columns=["path", "color", "tags", "logo"])
    frame.to_csv(folder / "any.csv", index=False)
    prepare(folder, "any.csv", unreadable)


def good(kind: str) -> bytes:
    """A good table of twelve rows."""
    frame = pd.DataFrame(
        {
            "path": [f"i/{n}.png" for n in range(COUNT)],
            "color": [("red", "blue")[n % 2] for n in range(COUNT)],
            "tags": [("a|b", "a", "b", "")[n % 4] for n in range(COUNT)],
            "logo": [("1", "0", None)[n % 3] for n in range(COUNT)],
        }
    )
    if kind == "encoded.parquet":
        frame["path"] = [encoded("PNG", "RGB") if n else None for n in range(COUNT)]
    stream = io.BytesIO()
    if kind == "csv":
        frame.to_csv(stream, index=False)
    else:
        frame.to_parquet(stream)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["csv", "parquet", "encoded.parquet"])
def test_a_damaged_table_becomes_data_or_is_explained(folder: Path, kind: str) -> None:
    @settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(damaged(good(kind)))
    def check(content: bytes) -> None:
        (folder / f"damaged.{kind}").write_bytes(content)
        prepare(folder, f"damaged.{kind}", "drop")

    check()
