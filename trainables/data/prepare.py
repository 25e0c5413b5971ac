"""`prepare_data`: from the `data` and `tasks` sections to what every trial reads."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config.data import DataConfig
from trainables.config.tasks import TaskConfig
from trainables.data.cache import Cache, cache_root, digest_of, stamp
from trainables.data.chunks import Wanted
from trainables.data.columns import Column
from trainables.data.decode import DecodedImages, Progress, decode_all, pillow_version
from trainables.data.labels import resolve_task
from trainables.data.prepared import FORMAT, SPLITS, PreparedData, TaskLabels, load_prepared, write_prepared
from trainables.data.rows import Rows
from trainables.data.sources import read_source
from trainables.data.splits import assign_split
from trainables.errors import DataError

VERSION = "2"
"""Of readers, splits and labels; raised when what they make of the same files changes."""


def prepare_data(
    data: DataConfig,
    tasks: Mapping[str, TaskConfig],
    *,
    seed: int,
    base: Path | None = None,
    progress: Progress | None = None,
) -> PreparedData:
    """Read labels, split, and decode all images once; a second call finds them in the cache.

    Several processes may do this at once: one works, the others wait for it. Nothing is ever half-written.

    Args:
        data: where images and labels are.
        tasks: what is asked of them, by name.
        seed: of the split.
        base: folder that relative paths in `data` start from; default the working directory.
        progress: called as `progress(done, total)` while images are decoded.

    Raises:
        DataError: the data cannot be used as configured; says what to change.
    """
    base = (base or Path.cwd()).absolute()
    cache = Cache(cache_root(data.cache, base))
    request = _request(data, tasks, seed, base)
    found = _answered(cache, request)
    if found is not None:
        return found
    with cache.locked(f"request-{request}"):
        found = _answered(cache, request)  # by the process that held the lock
        if found is not None:
            return found
        began = time.time_ns()
        rows = read_source(data, base)
        stamped, trusted = stamp(rows.watched, began)
        prepared, lasting = _prepare(cache, rows, data, tasks, seed, progress)
        if trusted and lasting and rows.watched:
            cache.remember(request, prepared.directory, rows.watched, stamped)
        return prepared


def image_wanted(data: DataConfig) -> Wanted:
    """The shape that the config asks for."""
    size = (data.image_size, data.image_size) if isinstance(data.image_size, int) else data.image_size
    return Wanted(size, data.channels, data.max_pixels)


def kept_rows(rows: Rows, data: DataConfig) -> Rows:
    """The rows that `data.keep` leaves.

    Raises:
        DataError: no such column, or nothing is left.
    """
    chosen = np.ones(len(rows), dtype=np.bool_)
    for name, wanted in data.keep.items():
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


def task_columns(rows: Rows, data: DataConfig, tasks: Mapping[str, TaskConfig]) -> dict[str, Column]:
    """The label column of each task, with empty and `data.missing` cells masked."""
    return {
        name: rows.column(task.label, f"tasks.{name}.label").without(data.missing)
        for name, task in tasks.items()
    }


@dataclass(frozen=True)
class Resolved:
    """Labels, class names and row numbers per split."""

    labels: dict[str, TaskLabels]
    classes: dict[str, tuple[str, ...]]
    splits: dict[str, NDArray[np.int64]]


def resolve(
    tasks: Mapping[str, TaskConfig], columns: Mapping[str, Column], split: NDArray[np.int8]
) -> Resolved:
    """All tasks' labels for a split of the rows."""
    found = {name: resolve_task(name, task, columns[name], split) for name, task in tasks.items()}
    return Resolved(
        {name: labels for name, (labels, _) in found.items()},
        {name: classes for name, (_, classes) in found.items()},
        {name: np.flatnonzero(split == code) for code, name in enumerate(SPLITS)},
    )


def _prepare(
    cache: Cache,
    rows: Rows,
    data: DataConfig,
    tasks: Mapping[str, TaskConfig],
    seed: int,
    progress: Progress | None,
) -> tuple[PreparedData, bool]:
    """The prepared data, and whether it will be the same as long as no file changes."""
    rows = kept_rows(rows, data)
    columns = task_columns(rows, data, tasks)
    split = assign_split(rows, data, tasks, columns, seed)
    resolved = resolve(tasks, columns, split)  # before decoding: what is wrong with labels is said at once
    images = decode_all(cache, rows.images, image_wanted(data), progress)
    dropped: dict[str, int] = {}
    if images.unreadable:
        if data.unreadable == "error":
            raise unreadable_error(rows, images)
        lost = np.array(sorted(images.unreadable), dtype=np.int64)
        dropped = {name: int((split[lost] == code).sum()) for code, name in enumerate(SPLITS)}
        split[lost] = -1
        resolved = resolve(tasks, columns, split)
    return _store(cache, rows.ids, images, resolved, dropped), images.lasting


def unreadable_error(rows: Rows, images: DecodedImages) -> DataError:
    """Names the first unreadable images."""
    lines = [f"\n  {rows.place(row)}: {reason}" for row, reason in sorted(images.unreadable.items())[:5]]
    more = f"\n  and {len(images.unreadable) - 5} more" if len(images.unreadable) > 5 else ""
    return DataError(
        f"{len(images.unreadable)} of {len(rows)} images cannot be read:{''.join(lines)}{more}\n",
        "Repair them, or leave them out with data.unreadable: drop.",
        "data.unreadable",
    )


def _store(
    cache: Cache, ids: list[str], images: DecodedImages, resolved: Resolved, dropped: dict[str, int]
) -> PreparedData:
    mean, std = _moments(images, resolved.splits["train"])
    digest = digest_of(
        str(FORMAT),
        json.dumps([ids, resolved.classes, images.shape, dropped]),
        images.checks.astype("<u8").tobytes(),
        *(resolved.splits[name].astype("<i8").tobytes() for name in SPLITS),
        *(part.tobytes() for labels in resolved.labels.values() for part in (labels.values, labels.present)),
    )
    with cache.locked(f"prepared-{digest}"):
        directory = cache.root / "prepared" / digest
        if (found := _loaded(directory)) is not None:
            return found  # the same data by another way
        cache.add_folder(
            f"prepared/{digest}",
            lambda folder: write_prepared(
                folder,
                digest=digest,
                images=f"../../images/{images.directory.name}",
                ids=ids,
                labels=resolved.labels,
                classes=resolved.classes,
                splits=resolved.splits,
                mean=mean,
                std=std,
                dropped=dropped,
            ),
            lambda folder: _loaded(folder) is not None,
        )
    return load_prepared(directory)


def _moments(images: DecodedImages, train: NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of the training images, from exact integer sums."""
    pixels = len(train) * images.shape[2] * images.shape[3]
    means, deviations = [], []
    for channel in range(images.shape[1]):
        total = int(images.sums[train, channel].sum())
        squares = int(images.squares[train, channel].sum())
        means.append(total / pixels / 255)
        deviations.append(max((squares * pixels - total * total), 0) ** 0.5 / pixels / 255)
    # A channel without any contrast is left as it is instead of being divided by zero.
    return tuple(means), tuple(deviation or 1.0 for deviation in deviations)


def _request(data: DataConfig, tasks: Mapping[str, TaskConfig], seed: int, base: Path) -> str:
    """Key of everything that determines the prepared data, except the contents of files."""
    labelling = {"type", "label", "classes", "positive", "separator", "class_weights"}
    asked = {
        "version": [VERSION, pillow_version()],
        "data": data.model_dump(mode="json", exclude={"augment", "cache"}),
        "tasks": {name: task.model_dump(mode="json", include=labelling) for name, task in tasks.items()},
        "seed": seed,
        "base": str(base),
    }
    return digest_of(json.dumps(asked))


def _answered(cache: Cache, request: str) -> PreparedData | None:
    directory = cache.answer(request)
    return None if directory is None else _loaded(directory)


def _loaded(directory: Path) -> PreparedData | None:
    try:
        return load_prepared(directory)
    except DataError:  # not there, or cleared in part; it is made again
        return None
