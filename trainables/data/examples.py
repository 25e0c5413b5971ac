"""The labelled examples of all sources, one source after the other, before any image is decoded."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from trainables.config.data import DataConfig, SourceKeys
from trainables.config.tasks import TaskConfig
from trainables.data.columns import Column, joined
from trainables.data.rows import Rows
from trainables.data.sources import read_source
from trainables.data.splits import assign_split
from trainables.errors import DataError

Tell = Callable[[DataError], None]
"""Takes in an error. If it does not raise it, the rest is still looked at."""


def stop(error: DataError) -> NoReturn:
    """Let the first error end all."""
    raise error


_SOURCE_KEY = re.compile(rf"(?<![\w/.-])data\.({'|'.join(SourceKeys.model_fields)})\b")


@dataclass(frozen=True)
class Source:
    """One source, read and split.

    Attributes:
        name: as in `data.sources`; empty for the only one.
        key: of the config where it is described: `data` or `data.sources[1]`.
        config: how it is described.
        rows: its examples, after `keep`.
        columns: the labels of its tasks.
        split: (N_s,) codes of `SPLITS`; -1 where they could not be found out.
    """

    name: str
    key: str
    config: SourceKeys
    rows: Rows
    columns: dict[str, Column]
    split: NDArray[np.int8]

    def place(self, row: int) -> str:
        """Where a row comes from, as the user would look for it."""
        place = self.rows.place(row)
        return f"{self.name}: {place}" if self.name else place


class Examples:
    """The examples of all sources."""

    def __init__(self, sources: tuple[Source, ...], tasks: Mapping[str, TaskConfig]) -> None:
        """`sources` in the order of the config; `tasks`: those whose labels are wanted."""
        self.sources = sources
        bounds = [0, *accumulate(len(source.rows) for source in sources)]
        self.ranges = [range(first, stop) for first, stop in pairwise(bounds)]
        """Which rows are whose, by position of the source."""
        self.columns = {
            task: joined([(source.columns.get(task), len(source.rows)) for source in sources])
            for task in tasks
        }
        """(N,) labels by task, empty in sources that are not labelled for it."""
        self.split = np.concatenate([np.empty(0, dtype=np.int8), *(source.split for source in sources)])
        """(N,) codes of `SPLITS`."""

    def __len__(self) -> int:
        return len(self.split)

    @property
    def key(self) -> str:
        """Below which the keys of sources are, if it is no matter of a single one."""
        return "data.sources[]" if self.named_ranges else "data"

    @property
    def named_ranges(self) -> dict[str, range]:
        """Which rows belong to which of `data.sources`; empty with a single `source`."""
        return {
            source.name: own for source, own in zip(self.sources, self.ranges, strict=True) if source.name
        }

    def ids(self) -> list[str]:
        """Unique names of the examples."""
        return [
            f"{source.name}/{id_}" if source.name else id_
            for source in self.sources
            for id_ in source.rows.ids
        ]

    def place(self, row: int) -> str:
        """Where a row comes from, as the user would look for it."""
        source, own = next(pair for pair in zip(self.sources, self.ranges, strict=True) if row in pair[1])
        return source.place(row - own.start)


def read_examples(
    data: DataConfig, tasks: Mapping[str, TaskConfig], *, seed: int, base: Path, tell: Tell
) -> Examples:
    """Read and split every source, each as if it were alone.

    What `tell` lets pass is left out: sources that cannot be read, and tasks that they should have labelled.

    Args:
        data: where images and labels are.
        tasks: what is asked of them, by name.
        seed: of the splits.
        base: folder that relative paths in `data` start from.
        tell: what to do with errors, which speak of keys as they stand in the file.
    """
    found: list[Source] = []
    whole = dict(tasks)  # of which no source's labels or splits are lost
    for described in _described(data, tasks):
        key, config = described.key, described.config
        rows: Rows | None = None
        with told(tell, key):
            rows = kept_rows(read_source(described.source, config, base), config)
        labels = {}
        for task, (column, column_key) in described.labels.items():
            if rows is not None:
                with told(tell, key):
                    labels[task] = label_column(rows, config, column, column_key)
            if task not in labels:
                whole.pop(task, None)
        if rows is not None:
            split = np.full(len(rows), -1, dtype=np.int8)
            with told(tell, key):
                split = assign_split(rows, config, {task: tasks[task] for task in labels}, labels, seed)
            if (split < 0).all():
                whole = {task: asked for task, asked in whole.items() if task not in labels}
            found.append(Source(described.name, key, config, rows, labels, split))
    return Examples(tuple(found), whole)


class _Described(NamedTuple):
    """A source as the config describes it; `labels`: by task its column, and the key that says so."""

    name: str
    key: str
    source: str | dict[str, str]
    config: SourceKeys
    labels: dict[str, tuple[str, str]]


def _described(data: DataConfig, tasks: Mapping[str, TaskConfig]) -> Iterator[_Described]:
    if data.source is not None:
        labels = {name: (task.label, f"tasks.{name}.label") for name, task in tasks.items()}
        yield _Described("", "data", data.source, data, labels)
    for index, source in enumerate(data.sources or ()):
        key = f"data.sources[{index}]"
        labels = {
            name: (source.column_of(name, task.label), f"{key}.tasks")
            for name, task in tasks.items()
            if name in source.tasks
        }
        yield _Described(source.name, key, source.source, source, labels)


@contextmanager
def told(tell: Tell, key: str) -> Iterator[None]:
    """Tell of a `DataError` inside, which knows of one source only, in words of the source at `key`."""
    try:
        yield
    except DataError as error:
        own = None if error.key is None else keys_of_source(error.key, key)
        tell(DataError(keys_of_source(error.message, key), keys_of_source(error.hint, key), own))


def keys_of_source(text: str, key: str) -> str:
    """`text` with the keys of a single source where they are for the source at `key`.

    `data.image` is `data.sources[1].image` there; what all sources share (`data.image_size`) stays.
    """
    return _SOURCE_KEY.sub(rf"{key}.\1", text)


def kept_rows(rows: Rows, config: SourceKeys) -> Rows:
    """The rows that `keep` leaves.

    Raises:
        DataError: no such column, or nothing is left.
    """
    chosen = np.ones(len(rows), dtype=np.bool_)
    for name, wanted in config.keep.items():
        column = rows.column(name, f"data.keep.{name}")
        chosen &= column.matching(wanted)
        if not chosen.any():
            shown = ", ".join(repr(value) for value in column.values[:10])
            raise DataError(
                f"data.keep leaves no row: none has {name} in {list(wanted)}.",
                f"Values of that column: {shown}.",
                f"data.keep.{name}",
            )
    return rows if chosen.all() else rows.take(np.flatnonzero(chosen))


def label_column(rows: Rows, config: SourceKeys, name: str, key: str) -> Column:
    """A column of labels, with empty and `missing` cells masked.

    Raises:
        DataError: there is none of this name; `key` is to blame.
    """
    return rows.column(name, key).without(config.missing)
