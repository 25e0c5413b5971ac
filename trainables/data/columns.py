"""Label columns: cells of any type become codes into a table of distinct values, written one way."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = str | tuple[str, ...]
"""A distinct cell: text, or a list of tags."""

_WHOLE = re.compile(r"-?(0|[1-9]\d*)\.0+")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


def canonical(cell: object) -> str:
    """One way of writing a scalar, so that -1, -1.0 and "-1" (or True and "true") are the same label.

    Integers that a missing cell turned into floats show as integers again; other text stays as it is,
    without the spaces around it ("01" and "1.10" are not numbers here).
    """
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", errors="replace")
    if isinstance(cell, str):
        text = cell.strip()
        if text in ("True", "TRUE", "False", "FALSE"):
            return text.lower()
        return text.split(".")[0] if _WHOLE.fullmatch(text) else text
    if isinstance(cell, bool | np.bool_):
        return "true" if cell else "false"
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)


def sort_key(name: str) -> tuple[int, float, str]:
    """Order of class names: numbers by value first, then text."""
    return (0, float(name), name) if _NUMBER.fullmatch(name) else (1, 0.0, name)


@dataclass(frozen=True)
class Column:
    """A column of N cells.

    Attributes:
        codes: (N,) int64 index into `values`; -1 where the cell is empty (nothing, NaN, or blank text).
        values: the distinct cells.
    """

    codes: NDArray[np.int64]
    values: tuple[Value, ...]

    def take(self, rows: NDArray[np.int64]) -> "Column":
        """The column of these rows."""
        return Column(self.codes[rows], self.values)

    def matching(self, wanted: Iterable[str | int | float | bool]) -> NDArray[np.bool_]:
        """(N,) whether the cell is one of the wanted values, or for a list of tags contains one."""
        names = {canonical(value) for value in wanted}
        chosen = [
            value in names if isinstance(value, str) else not names.isdisjoint(value) for value in self.values
        ]
        return np.array([*chosen, False], dtype=np.bool_)[self.codes]

    def without(self, missing: Iterable[str | int | float]) -> "Column":
        """The column with the cells that equal one of `missing` made empty."""
        names = {canonical(value) for value in missing}
        # An empty list is no tag, which is a label; a list of one missing value is none.
        empty = [
            value in names if isinstance(value, str) else len(value) == 1 and value[0] in names
            for value in self.values
        ]
        return Column(np.where(np.array([*empty, True])[self.codes], -1, self.codes), self.values)


def joined(parts: Sequence[tuple[Column | None, int]]) -> Column:
    """Columns one below the other, each with its number of cells; None: all of these are empty."""
    by_value: dict[Value, int] = {}
    codes = [np.empty(0, dtype=np.int64)]
    for column, count in parts:
        if column is None:
            codes.append(np.full(count, -1, dtype=np.int64))
            continue
        lookup = [by_value.setdefault(value, len(by_value)) for value in column.values]
        codes.append(np.array([*lookup, -1], dtype=np.int64)[column.codes])
    return Column(np.concatenate(codes), tuple(by_value))


def encode(cells: Sequence[Any] | NDArray[Any]) -> Column:
    """Encode raw cells: text, numbers, booleans, None, NaN, or lists of these."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iub":
        found, codes = np.unique(cells, return_inverse=True)
        return Column(codes.astype(np.int64), tuple(canonical(value) for value in found.tolist()))
    by_value: dict[Value, int] = {}
    by_cell: dict[Any, int] = {}
    codes = np.empty(len(cells), dtype=np.int64)
    for n, cell in enumerate(cells.tolist() if isinstance(cells, np.ndarray) else cells):
        if isinstance(cell, list | tuple | np.ndarray):
            value: Value = tuple(canonical(tag) for tag in cell if not _is_empty(tag))
            codes[n] = by_value.setdefault(value, len(by_value))
            continue
        # The type is part of the key: 1, 1.0 and True are equal to a dict, yet not written alike.
        key = (cell.__class__, cell)
        code = by_cell.get(key)
        if code is None:
            code = -1 if _is_empty(cell) else by_value.setdefault(canonical(cell), len(by_value))
            by_cell[key] = code
        codes[n] = code
    return Column(codes, tuple(by_value))


def _is_empty(cell: object) -> bool:
    if cell is None:
        return True
    if isinstance(cell, str | bytes):
        return not cell.strip()
    try:
        return math.isnan(cell)  # type: ignore[arg-type]
    except TypeError:  # pandas' NA and NaT, decimals, dates
        return type(cell).__name__ in ("NAType", "NaTType")
