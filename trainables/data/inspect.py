"""`inspect_data`: everything that can be said about data before training, all of it at once."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config.data import DataConfig
from trainables.config.tasks import MultilabelTask, TaskConfig
from trainables.data.cache import Cache, cache_root
from trainables.data.decode import DecodedImages, Progress
from trainables.data.decode_sources import decode_sources
from trainables.data.duplicates import contradictions, duplicate_warnings, duplicates
from trainables.data.examples import Examples, Source, keys_of_source, read_examples, told
from trainables.data.labels import resolve_task
from trainables.data.prepare import unreadable_error
from trainables.data.prepared import SPLITS, TaskLabels
from trainables.data.report import ORDER, DataProblem, DataReport, DuplicateImage, SourceReport, TaskReport
from trainables.errors import DataError

FEW = 5
"""Training examples of a class below which it is said to have few."""

LARGE = 0.6
"""Part of the machine's memory that decoded images may fill without a remark."""


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

    def tell(error: DataError) -> None:
        problems.append(_as_problem(error))

    examples = read_examples(data, tasks, seed=seed, base=base, tell=tell)
    name = ", ".join(str(source.source) for source in data.sources or (data,))
    if not examples.sources:
        return DataReport(name, problems=tuple(problems))
    for source in examples.sources:
        problems += [DataProblem("warning", f"{source.key}.source", note) for note in source.rows.notes]
    known = {task: tasks[task] for task in examples.columns}
    split = examples.split
    images: DecodedImages | None = None
    try:
        images = decode_sources(Cache(cache_root(data.cache, base)), examples.sources, data, progress)
    except DataError as error:
        tell(error)
    if images is not None and images.unreadable:
        problems.append(_unreadable(examples, images, split, data))
        split[list(images.unreadable)] = -1
    reports = {}
    resolved = {}
    if (split >= 0).any():
        for task, config in known.items():
            try:
                labels, classes = resolve_task(task, config, examples.columns[task], split)
            except DataError as error:
                tell(error)
            else:
                resolved[task] = (labels, classes)
                reports[task] = _task_report(config, labels, classes, split)
                problems += _label_warnings(task, reports[task])
        for source, own in zip(examples.sources, examples.ranges, strict=True):
            with told(tell, source.key):
                problems += _group_warnings(source, split[own.start : own.stop])
    torn: tuple[DuplicateImage, ...] = ()
    if images is not None:
        torn, copies = duplicates(examples, images, split)
        problems += [*duplicate_warnings(torn), *copies]
        for task in reports:
            problems += contradictions(task, examples, images, split, *resolved[task])
        problems += _size_notes(images.size, _memory())
    return DataReport(
        source=name if data.sources else examples.sources[0].rows.name,
        rows=len(examples),
        image_shape=None if images is None else images.shape[1:],
        splits=_split_counts(split),
        tasks=reports,
        unreadable=()
        if images is None
        else tuple((examples.place(row), reason) for row, reason in sorted(images.unreadable.items())),
        duplicates=torn,
        problems=tuple(
            sorted(
                (_of_sources(problem, examples.key) for problem in problems),
                key=lambda problem: ORDER.index(problem.severity),
            )
        ),
        sources={
            source: _source_report(own, split, {task: labels for task, (labels, _) in resolved.items()})
            for source, own in examples.named_ranges.items()
        },
    )


def _as_problem(error: DataError) -> DataProblem:
    return DataProblem("error", error.key, error.message, error.hint)


def _of_sources(problem: DataProblem, key: str) -> DataProblem:
    """`problem` in words of the keys of several sources, if they are below `key`."""
    return DataProblem(
        problem.severity,
        None if problem.key is None else keys_of_source(problem.key, key),
        keys_of_source(problem.message, key),
        keys_of_source(problem.hint, key),
    )


def _split_counts(split: NDArray[np.int8]) -> dict[str, int]:
    return {name: int((split == code).sum()) for code, name in enumerate(SPLITS)}


def _source_report(rows: range, split: NDArray[np.int8], labels: Mapping[str, TaskLabels]) -> SourceReport:
    own = slice(rows.start, rows.stop)
    labelled = {
        task: _split_counts(np.where(found.present, split, -1)[own]) for task, found in labels.items()
    }
    return SourceReport(
        _split_counts(split[own]), {task: counts for task, counts in labelled.items() if any(counts.values())}
    )


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


def _unreadable(
    examples: Examples, images: DecodedImages, split: NDArray[np.int8], data: DataConfig
) -> DataProblem:
    if data.unreadable == "error":
        return _as_problem(unreadable_error(examples, images))
    lost = np.array(sorted(images.unreadable), dtype=np.int64)
    parts = ", ".join(f"{name} {count}" for name, count in _split_counts(split[lost]).items())
    message = f"{len(lost)} of {len(examples)} images cannot be read ({parts})."
    return DataProblem("warning", "data.unreadable", message, "They are left out.")


def _group_warnings(source: Source, split: NDArray[np.int8]) -> list[DataProblem]:
    """Groups that a split column tears apart; splits that are drawn never do.

    Raises:
        DataError: there is no such column.
    """
    group = source.config.split.group if source.config.split is not None else None
    if group is None:
        return []
    column = source.rows.column(group, "data.split.group")
    present = (column.codes >= 0) & (split >= 0)
    pairs = np.unique(np.stack([column.codes[present], split[present]]), axis=1)
    torn = np.flatnonzero(np.bincount(pairs[0], minlength=len(column.values)) > 1)
    if not len(torn):
        return []
    shown = ", ".join(str(column.values[code]) for code in torn[:5].tolist())
    return [
        DataProblem(
            "warning",
            f"{source.key}.split.group",
            f"{len(torn)} values of {group!r} are in more than one split, for example {shown}.",
            "What is measured on val and test is then too good.",
        )
    ]


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
