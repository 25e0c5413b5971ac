"""`inspect_data`: everything that can be said about data before training, all of it at once."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.config.data import DataConfig
from trainables.config.tasks import MultilabelTask, TaskConfig
from trainables.data.cache import Cache, cache_root
from trainables.data.columns import Column
from trainables.data.decode import DecodedImages, Progress, decode_all
from trainables.data.labels import resolve_task
from trainables.data.prepare import image_wanted, kept_rows, unreadable_error
from trainables.data.prepared import SPLITS, TaskLabels
from trainables.data.rows import Rows
from trainables.data.sources import read_source
from trainables.data.splits import assign_split
from trainables.errors import DataError

FEW = 5
"""Training examples of a class below which it is said to have few."""

ORDER = ("error", "warning", "note")
"""Of problems."""

LARGE = 0.6
"""Part of the machine's memory that decoded images may fill without a remark."""


@dataclass(frozen=True)
class DataProblem:
    """Something to know before training.

    An error stops `prepare_data`; a warning is probably not meant; a note is a remark.
    """

    severity: Literal["error", "warning", "note"]
    key: str | None
    message: str
    hint: str = ""


@dataclass(frozen=True)
class TaskReport:
    """The labels of one task.

    Attributes:
        classes: class names; binary: (negative, positive).
        counts: examples by split and class.
        labelled: examples that have a label, by split.
        missing: examples that have none, by split.
    """

    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    labelled: dict[str, int]
    missing: dict[str, int]


@dataclass(frozen=True)
class DuplicateImage:
    """One picture that is in several splits: where it is found in each."""

    places: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class DataReport:
    """What is known of the data.

    Attributes:
        source: its name.
        rows: examples, after `data.keep`.
        image_shape: (channels, height, width), if images could be decoded.
        splits: examples by split.
        tasks: by name; those whose labels could be resolved.
        unreadable: (place, reason) of every image that cannot be read, left out or not.
        duplicates: pictures that are in several splits, pixel for pixel.
        problems: errors first, notes last.
    """

    source: str
    rows: int = 0
    image_shape: tuple[int, int, int] | None = None
    splits: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, TaskReport] = field(default_factory=dict)
    unreadable: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[DuplicateImage, ...] = ()
    problems: tuple[DataProblem, ...] = ()


def inspect_data(
    data: DataConfig,
    tasks: Mapping[str, TaskConfig],
    *,
    seed: int,
    base: Path | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Everything about the data that can be known without training; raises nothing that the user can cause.

    Images are decoded into the cache, so that `prepare_data` finds them there.
    """
    base = (base or Path.cwd()).absolute()
    problems: list[DataProblem] = []
    try:
        rows = kept_rows(read_source(data, base), data)
    except DataError as error:
        return DataReport(str(data.source), problems=(_as_problem(error),))
    problems += [DataProblem("warning", "data.source", note) for note in rows.notes]
    columns = _columns(rows, data, tasks, problems)
    known = {name: task for name, task in tasks.items() if name in columns}
    split = np.full(len(rows), -1, dtype=np.int8)
    try:
        split = assign_split(rows, data, known, columns, seed)
    except DataError as error:
        problems.append(_as_problem(error))
    images: DecodedImages | None = None
    try:
        images = decode_all(Cache(cache_root(data.cache, base)), rows.images, image_wanted(data), progress)
    except DataError as error:
        problems.append(_as_problem(error))
    if images is not None and images.unreadable:
        problems.append(_unreadable(rows, images, split, data))
        split[list(images.unreadable)] = -1
    reports = {}
    resolved = {}
    if (split >= 0).any():
        for name, task in known.items():
            try:
                labels, classes = resolve_task(name, task, columns[name], split)
            except DataError as error:
                problems.append(_as_problem(error))
            else:
                resolved[name] = (labels, classes)
                reports[name] = _task_report(task, labels, classes, split)
                problems += _label_warnings(name, reports[name])
        problems += _group_warnings(rows, data, split)
    duplicates: tuple[DuplicateImage, ...] = ()
    if images is not None:
        duplicates, copies = _duplicates(rows, images, split)
        problems += [*_duplicate_warnings(duplicates), *copies]
        for name in reports:
            problems += _contradictions(name, rows, images, split, *resolved[name])
        problems += _size_notes(math.prod(images.shape), _memory())
    return DataReport(
        source=rows.name,
        rows=len(rows),
        image_shape=None if images is None else images.shape[1:],
        splits={name: int((split == code).sum()) for code, name in enumerate(SPLITS)},
        tasks=reports,
        unreadable=()
        if images is None
        else tuple((rows.place(row), reason) for row, reason in sorted(images.unreadable.items())),
        duplicates=duplicates,
        problems=tuple(sorted(problems, key=lambda problem: ORDER.index(problem.severity))),
    )


def _as_problem(error: DataError) -> DataProblem:
    return DataProblem("error", error.key, error.message, error.hint)


def _columns(
    rows: Rows, data: DataConfig, tasks: Mapping[str, TaskConfig], problems: list[DataProblem]
) -> dict[str, Column]:
    columns = {}
    for name, task in tasks.items():
        try:
            columns[name] = rows.column(task.label, f"tasks.{name}.label").without(data.missing)
        except DataError as error:
            problems.append(_as_problem(error))
    return columns


def _task_report(
    task: TaskConfig, labels: TaskLabels, classes: tuple[str, ...], split: NDArray[np.int8]
) -> TaskReport:
    counts, labelled, missing = {}, {}, {}
    for code, name in enumerate(SPLITS):
        chosen = (split == code) & labels.present
        values = labels.values[chosen]
        if isinstance(task, MultilabelTask):
            found = values.sum(axis=0, dtype=np.int64)
        else:
            found = np.bincount(values, minlength=len(classes))
        counts[name] = dict(zip(classes, found.tolist(), strict=True))
        labelled[name] = int(chosen.sum())
        missing[name] = int((split == code).sum()) - labelled[name]
    return TaskReport(classes, counts, labelled, missing)


def _label_warnings(name: str, report: TaskReport) -> list[DataProblem]:
    key = f"tasks.{name}.label"
    found = []
    few = {label: count for label, count in report.counts["train"].items() if count < FEW}
    if few:
        shown = ", ".join(f"{label} ({count})" for label, count in list(few.items())[:10])
        more = f" and {len(few) - 10} more" if len(few) > 10 else ""
        found.append(
            DataProblem(
                "warning",
                key,
                f"Task {name!r}: classes with fewer than {FEW} training examples: {shown}{more}.",
                "Leave them out with data.keep or data.missing, or find more examples.",
            )
        )
    for split in ("val", "test"):
        if split == "test" and report.labelled[split] == 0 < report.missing[split]:
            message = f"Task {name!r} has no label in the test split."
            found.append(DataProblem("warning", key, message))
            continue
        absent = [label for label, count in report.counts[split].items() if count == 0]
        if absent and report.labelled[split]:
            shown = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
            message = f"Task {name!r}: classes without an example in the {split} split: {shown}."
            found.append(DataProblem("warning", key, message, "Metrics of that split say nothing of them."))
    return found


def _unreadable(rows: Rows, images: DecodedImages, split: NDArray[np.int8], data: DataConfig) -> DataProblem:
    if data.unreadable == "error":
        return _as_problem(unreadable_error(rows, images))
    lost = np.array(sorted(images.unreadable), dtype=np.int64)
    parts = [f"{name} {int((split[lost] == code).sum())}" for code, name in enumerate(SPLITS)]
    message = f"{len(lost)} of {len(rows)} images cannot be read ({', '.join(parts)})."
    return DataProblem("warning", "data.unreadable", message, "They are left out.")


def _group_warnings(rows: Rows, data: DataConfig, split: NDArray[np.int8]) -> list[DataProblem]:
    """Groups that a split column tears apart; splits that are drawn never do."""
    group = data.split.group if data.split is not None else None
    if group is None:
        return []
    try:
        column = rows.column(group, "data.split.group")
    except DataError as error:
        return [_as_problem(error)]
    present = (column.codes >= 0) & (split >= 0)
    pairs = np.unique(np.stack([column.codes[present], split[present]]), axis=1)
    torn = np.flatnonzero(np.bincount(pairs[0], minlength=len(column.values)) > 1)
    if not len(torn):
        return []
    shown = ", ".join(str(column.values[code]) for code in torn[:5].tolist())
    return [
        DataProblem(
            "warning",
            "data.split.group",
            f"{len(torn)} values of {group!r} are in more than one split, for example {shown}.",
            "What is measured on val and test is then too good.",
        )
    ]


def _equal_pictures(images: DecodedImages, split: NDArray[np.int8]) -> list[list[int]]:
    """Rows that show one picture, where several do, by a hash of their decoded pixels."""
    used = np.flatnonzero(split >= 0)
    _, same, counts = np.unique(images.checks[used], return_inverse=True, return_counts=True)
    found: dict[int, list[int]] = {}
    for row in used[counts[same] > 1].tolist():
        found.setdefault(int(images.checks[row]), []).append(row)
    return list(found.values())


def _duplicates(
    rows: Rows, images: DecodedImages, split: NDArray[np.int8]
) -> tuple[tuple[DuplicateImage, ...], list[DataProblem]]:
    """Pictures that are in more than one split, and a note on those that are in one split several times."""
    torn = []
    repeated: list[list[int]] = []
    for found in _equal_pictures(images, split):
        places: dict[str, tuple[str, ...]] = {}
        for code, name in enumerate(SPLITS):
            within = [row for row in found if split[row] == code]
            if within:
                places[name] = tuple(rows.place(row) for row in within)
            if len(within) > 1:
                repeated.append(within)
        if len(places) > 1:
            torn.append(DuplicateImage(places))
    if not repeated:
        return tuple(torn), []
    first, second = (rows.place(row) for row in repeated[0][:2])
    message = (
        f"{len(repeated)} pictures occur several times within a split, {sum(map(len, repeated))} times in all,"
        f" for example {first} and {second}."
    )
    return tuple(torn), [DataProblem("note", "data.source", message)]


def _contradictions(
    name: str,
    rows: Rows,
    images: DecodedImages,
    split: NDArray[np.int8],
    labels: TaskLabels,
    classes: tuple[str, ...],
) -> list[DataProblem]:
    """Equal pictures that carry different labels of a task."""
    pairs: list[tuple[int, int]] = []
    for found in _equal_pictures(images, np.where(labels.present, split, -1)):
        other = next((row for row in found if (labels.values[row] != labels.values[found[0]]).any()), None)
        if other is not None:
            pairs.append((found[0], other))
    if not pairs:
        return []

    def shown(row: int) -> str:
        value = labels.values[row]
        label = classes[value] if value.ndim == 0 else ", ".join(np.array(classes)[value > 0]) or "no class"
        return f"{rows.place(row)} ({label})"

    message = (
        f"Task {name!r}: {len(pairs)} pictures occur with different labels,"
        f" for example {shown(pairs[0][0])} and {shown(pairs[0][1])}."
    )
    return [DataProblem("warning", f"tasks.{name}.label", message, "At most one of them can be right.")]


def _memory() -> int:
    """Bytes of memory of this machine; 0 if it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0


def _size_notes(size: int, memory: int) -> list[DataProblem]:
    if not memory or size <= LARGE * memory:
        return []
    message = (
        f"The decoded images take {size / 2**30:.1f} GiB, and this machine has {memory / 2**30:.1f} GiB of memory:"
        " images will be read from disk in random order, which is slow."
    )
    return [DataProblem("note", "data.image_size", message, "Choose a smaller data.image_size.")]


def _duplicate_warnings(duplicates: tuple[DuplicateImage, ...]) -> list[DataProblem]:
    warnings = []
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = [found.places for found in duplicates if first in found.places and second in found.places]
        if shared:
            example = f"{shared[0][first][0]} and {shared[0][second][0]}"
            warnings.append(
                DataProblem(
                    "warning",
                    "data.split",
                    f"{len(shared)} pictures are in both the {first} and the {second} split,"
                    f" pixel for pixel, for example {example}.",
                    "Keep them together with data.split.group, or remove the copies.",
                )
            )
    return warnings
