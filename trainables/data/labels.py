"""From label columns to class indices and masks."""

from collections.abc import Iterable, Mapping
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from trainables.config.tasks import BinaryTask, MulticlassTask, MultilabelTask, TaskConfig
from trainables.data.columns import Column, canonical, sort_key
from trainables.data.prepared import SPLITS, TaskLabels
from trainables.errors import DataError


def resolve_task(
    name: str, task: TaskConfig, column: Column, split: NDArray[np.int8]
) -> tuple[TaskLabels, tuple[str, ...]]:
    """The labels and class names of one task.

    Args:
        name: of the task.
        task: its config.
        column: its cells; empty ones have no label.
        split: (N,) codes of `SPLITS`; -1 for examples in none, whose cells are not judged.

    Raises:
        DataError: labels that contradict the config, or too few of them to train and validate on.
    """
    labels, classes = _resolve(name, task, column, split)
    for code, purpose in ((0, "train on"), (1, "choose the best epoch by")):
        if not labels.present[split == code].any():
            raise DataError(
                f"Task {name!r} has no labelled example in the {SPLITS[code]} split, so there is nothing"
                f" to {purpose}.",
                f"Look at column {task.label!r}, at data.missing and at data.split.",
                f"tasks.{name}.label",
            )
    if not isinstance(task, MultilabelTask):
        found = np.unique(labels.values[(split == 0) & labels.present])
        if len(found) < 2:
            raise DataError(
                f"Task {name!r}: every label of column {task.label!r} in the training split is"
                f" {classes[int(found[0])]!r}; one class leaves nothing to learn.",
                "Choose another label column, or check the file and data.keep.",
                f"tasks.{name}.label",
            )
    return labels, classes


def tags_of(value: str | tuple[str, ...], separator: str | None) -> tuple[str, ...]:
    """The labels of a cell: a list as it is, text split at the separator (a lone one means no label)."""
    if isinstance(value, tuple):
        return value
    if separator is None:
        return (value,)
    return tuple(canonical(part) for part in value.split(separator) if part.strip())


def _resolve(
    name: str, task: TaskConfig, column: Column, split: NDArray[np.int8]
) -> tuple[TaskLabels, tuple[str, ...]]:
    match task:
        case MulticlassTask():
            _refuse_lists(name, task.label, column)
            classes = _classes(name, task.label, task.classes, _scalars_per_split(column, split))
            if isinstance(task.class_weights, Mapping):
                _check_weights(name, task.class_weights, classes)
            index = {value: k for k, value in enumerate(classes)}
            lookup = [index.get(value, -1) if isinstance(value, str) else -1 for value in column.values]
            return _indexed(column, lookup), classes
        case BinaryTask():
            _refuse_lists(name, task.label, column)
            negative, positive = _poles(name, task, column, split)
            return _indexed(column, [int(value == positive) for value in column.values]), (negative, positive)
        case MultilabelTask():
            found = [set[str]() for _ in SPLITS]
            for code, tags in enumerate(found):
                for value in np.unique(column.codes[(split == code) & (column.codes >= 0)]).tolist():
                    tags.update(tags_of(column.values[value], task.separator))
            classes = _classes(name, task.label, task.classes, found)
            present = column.codes >= 0
            return TaskLabels(_tag_matrix(column, classes, task.separator), present), classes
        case _:
            assert_never(task)


def _indexed(column: Column, lookup: list[int]) -> TaskLabels:
    values = np.array([*lookup, -1], dtype=np.int64)[column.codes]
    present = values >= 0
    return TaskLabels(np.where(present, values, 0), present)


def _tag_matrix(column: Column, classes: Iterable[str], separator: str) -> NDArray[np.uint8]:
    index = {tag: k for k, tag in enumerate(classes)}
    rows = np.zeros((len(column.values) + 1, len(index)), dtype=np.uint8)
    for code, value in enumerate(column.values):
        for tag in tags_of(value, separator):
            if tag in index:
                rows[code, index[tag]] = 1
    return rows[column.codes]


def _scalars_per_split(column: Column, split: NDArray[np.int8]) -> list[set[str]]:
    used = [
        np.unique(column.codes[(split == code) & (column.codes >= 0)]).tolist() for code in range(len(SPLITS))
    ]
    return [{str(column.values[value]) for value in codes} for codes in used]


def _classes(
    name: str, label: str, declared: tuple[str | int | float | bool, ...] | None, found: list[set[str]]
) -> tuple[str, ...]:
    """The class names: declared, or found in the training split; everything else found is an error."""
    key = f"tasks.{name}.classes"
    if declared is None:
        classes = tuple(sorted(found[0], key=sort_key))
        late = sorted((found[1] | found[2]) - found[0], key=sort_key)
        if late and classes:
            where = " and ".join(SPLITS[code] for code in (1, 2) if not found[code] <= found[0])
            raise DataError(
                f"Task {name!r}: column {label!r} has values in the {where} split that no training example"
                f" has: {_listed(late)}.",
                f"Move examples of them to the training split, mask them with data.missing,"
                f" or list all classes in {key}.",
                key,
            )
        return classes
    classes = tuple(canonical(value) for value in declared)
    if len(set(classes)) < len(classes):
        twice = sorted({value for value in classes if classes.count(value) > 1})
        raise DataError(f"Task {name!r}: {key} lists {_listed(twice)} twice.", "List each class once.", key)
    unknown = sorted(set().union(*found) - set(classes), key=sort_key)
    if unknown:
        raise DataError(
            f"Task {name!r}: column {label!r} has values that are not in {key}: {_listed(unknown)}."
            f" Listed there: {_listed(list(classes))}.",
            "Add them to the classes, or to data.missing if they mean that there is no label.",
            key,
        )
    return classes


def _poles(name: str, task: BinaryTask, column: Column, split: NDArray[np.int8]) -> tuple[str, str]:
    """The negative and the positive class of a binary task."""
    found = sorted(set().union(*_scalars_per_split(column, split)), key=sort_key)
    key = f"tasks.{name}.positive"
    if task.positive is None:
        if len(found) > 2:
            raise DataError(
                f"Task {name!r} is binary, but column {task.label!r} has {len(found)}"
                f" values: {_listed(found)}.",
                f"Say with {key} which one means yes, or make it type: multiclass.",
                key,
            )
        return (found[0], found[-1]) if found else ("no", "yes")
    positive = canonical(task.positive)
    if found and positive not in found:
        raise DataError(
            f"Task {name!r}: {key} is {positive!r}, but column {task.label!r} has only {_listed(found)}.",
            "Name one of these values.",
            key,
        )
    others = [value for value in found if value != positive]
    return (others[0] if len(others) == 1 else f"not {positive}"), positive


def _check_weights(name: str, weights: Mapping[str, float], classes: tuple[str, ...]) -> None:
    unknown = [value for value in weights if canonical(value) not in classes]
    if unknown:
        key = f"tasks.{name}.class_weights"
        raise DataError(
            f"Task {name!r}: {key} names {_listed(unknown)}, but the classes are {_listed(list(classes))}.",
            "Write the class names as the column has them.",
            key,
        )


def _refuse_lists(name: str, label: str, column: Column) -> None:
    if any(isinstance(value, tuple) for value in column.values):
        raise DataError(
            f"Task {name!r}: column {label!r} holds lists of labels.",
            "Make it type: multilabel.",
            f"tasks.{name}.type",
        )


def _listed(values: list[str]) -> str:
    shown = ", ".join(repr(value) for value in values[:10])
    return shown if len(values) <= 10 else f"{shown} and {len(values) - 10} more"
