"""Which examples train, which validate, which test: by fractions, by a column, or as the source has it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trainables.config.data import SourceKeys, SplitColumn, SplitFractions
from trainables.config.tasks import MultilabelTask, TaskConfig
from trainables.data.columns import Column, sort_key
from trainables.data.labels import tags_of
from trainables.data.prepared import SPLITS
from trainables.data.rows import Rows
from trainables.data.stratify import Group, stratify
from trainables.errors import DataError

NAMES = {
    "train": 0, "training": 0,
    "val": 1, "valid": 1, "validation": 1, "dev": 1,
    "test": 2, "testing": 2,
}  # fmt: skip
"""How a split column or a folder may call the splits, in any case."""

OWN_VAL = 0.1
"""Part of a source's own training split that becomes the validation split where the source has none."""


def assign_split(
    rows: Rows, data: SourceKeys, tasks: Mapping[str, TaskConfig], columns: Mapping[str, Column], seed: int
) -> NDArray[np.int8]:
    """(N,) codes of `SPLITS` for every row.

    `data.split` decides; without it the source's own split does, where it has one, and 0.8/0.1/0.1 else.

    Raises:
        DataError: a split that is wanted is empty, or the split column says something else than a split.
    """
    everything = np.arange(len(rows))
    own = rows.split
    wanted = {0, 1}
    if isinstance(data.split, SplitColumn):
        split = _from_column(rows, data.split)
    elif data.split is None and own is not None and (own == 1).any():
        split = own.copy()
    elif data.split is None and own is not None and (own == 2).any():
        split = own.copy()
        training = np.flatnonzero(own == 0)
        split[training] = _draw(rows, training, (1 - OWN_VAL, OWN_VAL), None, tasks, columns, seed)
    else:
        fractions = data.split or SplitFractions()
        shares = (fractions.train, fractions.val, fractions.test)
        wanted = {code for code, share in enumerate(shares) if share > 0}
        split = _draw(rows, everything, shares, fractions.group, tasks, columns, seed)
    for code in sorted(wanted):
        if not (split == code).any():
            raise DataError(
                f"The {SPLITS[code]} split of {rows.name} is empty ({len(rows)} rows in all).",
                "Use larger fractions, more rows or groups, or another split column.",
                "data.split",
            )
    return split


def _draw(
    rows: Rows,
    chosen: NDArray[np.int64],
    fractions: tuple[float, ...],
    group: str | None,
    tasks: Mapping[str, TaskConfig],
    columns: Mapping[str, Column],
    seed: int,
) -> NDArray[np.int8]:
    """Parts of the chosen rows. Rows that show the same image stay together, as do those of one group."""
    names = [(rows.origins or rows.ids)[row] for row in chosen.tolist()]
    if group is not None:
        grouping = rows.column(group, "data.split.group").take(chosen)
        # An empty cell says nothing of a group.
        groups = [
            f"{group}\0{grouping.values[code]}" if code >= 0 else name
            for name, code in zip(names, grouping.codes.tolist(), strict=True)
        ]
        names = _connected(groups, names)
    labels = _label_numbers(tasks, columns, chosen)
    members: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        members.setdefault(name, []).append(row)
    units = []
    for name, found in members.items():
        counts: dict[int, int] = {}
        for row in found:
            for label in labels[row]:
                counts[label] = counts.get(label, 0) + 1
        units.append(Group(name, len(found), counts))
    parts = stratify(units, fractions, seed)
    split = np.empty(len(chosen), dtype=np.int8)
    for found, part in zip(members.values(), parts.tolist(), strict=True):
        split[found] = part
    return split


def _connected(groups: list[str], images: list[str]) -> list[str]:
    """For each row the smallest group that it is tied to, by sharing a group or an image, however indirectly."""
    parents = {group: group for group in groups}

    def top(group: str) -> str:
        while parents[group] != group:
            parents[group] = group = parents[parents[group]]
        return group

    first: dict[str, str] = {}
    for group, image in zip(groups, images, strict=True):
        one, other = top(group), top(first.setdefault(image, group))
        parents[max(one, other)] = min(one, other)
    return [top(group) for group in groups]


def _label_numbers(
    tasks: Mapping[str, TaskConfig], columns: Mapping[str, Column], chosen: NDArray[np.int64]
) -> list[tuple[int, ...]]:
    """The labels of each chosen row over all tasks, numbered by task and class name."""
    numbers: list[tuple[int, ...]] = [()] * len(chosen)
    offset = 0
    for name, task in tasks.items():
        column = columns[name]
        cells: list[tuple[str, ...]] = [
            tags_of(value, task.separator if isinstance(task, MultilabelTask) else None)
            for value in column.values
        ]
        names = sorted({label for cell in cells for label in cell}, key=sort_key)
        index = {label: offset + n for n, label in enumerate(names)}
        by_code = [*(tuple(index[label] for label in dict.fromkeys(cell)) for cell in cells), ()]
        numbers = [
            before + by_code[code]
            for before, code in zip(numbers, column.codes[chosen].tolist(), strict=True)
        ]
        offset += len(names)
    return numbers


def _from_column(rows: Rows, config: SplitColumn) -> NDArray[np.int8]:
    column = rows.column(config.column, "data.split.column")
    empty = np.flatnonzero(column.codes < 0)
    if len(empty):
        raise DataError(
            f"Column {config.column!r} is empty in {len(empty)} rows of {rows.name},"
            f" first {rows.place(int(empty[0]))}.",
            "Write train, val or test there.",
            "data.split.column",
        )
    wrong = sorted({str(value) for value in column.values if str(value).lower() not in NAMES})
    if wrong:
        shown = ", ".join(repr(value) for value in wrong[:5])
        raise DataError(
            f"Column {config.column!r} of {rows.name} has {shown}, which is not a split.",
            "Allowed: train, val, test.",
            "data.split.column",
        )
    lookup = np.array([NAMES[str(value).lower()] for value in column.values], dtype=np.int8)
    return lookup[column.codes]
