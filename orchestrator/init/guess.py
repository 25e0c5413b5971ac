"""What the columns of a table are probably for."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainables.config.tasks import RESERVED_NAMES
from trainables.data.columns import Column, sort_key
from trainables.data.rows import Rows
from trainables.data.splits import NAMES as SPLIT_NAMES

NO_LABEL = ("NA", "N/A", "n/a", "nan", "NaN", "null", "None", "none", "?", "-", "unknown", "-1")
"""Cells that usually mean "no label"; -1 only among numbers that are otherwise not negative."""
YES = ("1", "true", "yes", "y", "t", "positive", "pos", "present", "on")
NO = ("0", "false", "no", "n", "f", "negative", "neg", "absent", "off")
SEPARATORS = ("|", ";", ",")
"""Between tags, the most certain first."""
LONGEST_TAG = 40
"""Characters. Longer cells are sentences."""
FEWEST_PER_CLASS = 3
"""Examples per class on average below which a column is no label."""
MOST_NUMBERS = 30
"""Different whole numbers above which they count or measure something."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class GuessedTask:
    """A column that seems to be a label."""

    name: str
    column: str
    type: Literal["multiclass", "binary", "multilabel"]
    classes: tuple[str, ...]
    missing: int
    separator: str | None = None
    positive: str | None = None


@dataclass(frozen=True)
class Guess:
    """What a source seems to hold.

    Attributes:
        tasks: columns that are probably labels.
        left_out: the other columns, and why.
        missing: cells that probably mean "no label", besides empty ones.
        split: column with train, val and test; only taken if no cell of it is empty.
        groups: columns that say what belongs together (products, patients).
    """

    tasks: tuple[GuessedTask, ...]
    left_out: Mapping[str, str]
    missing: tuple[str, ...]
    split: str | None
    groups: tuple[str, ...]


def guess_columns(rows: Rows, skip: Collection[str] = ()) -> Guess:
    """Judge every column of `rows` but those in `skip` (the images)."""
    tasks: list[GuessedTask] = []
    left_out: dict[str, str] = {}
    missing: dict[str, None] = {}
    groups: list[str] = []
    split: str | None = None
    for name in rows.columns:
        if name in skip:
            continue
        column = rows.column(name, "data.source")
        counts = _counts(column)
        if split is None and _is_split(counts, len(rows)):
            split = name
            continue
        marks = _marks(counts)
        labelled = {value: count for value, count in counts.items() if value not in marks}
        if _is_group(name, labelled):
            groups.append(name)
            left_out[name] = "says what belongs together"
            continue
        found = _judge(name, labelled, len(rows), {task.name for task in tasks})
        if isinstance(found, str):
            left_out[name] = found
        else:
            tasks.append(found)
            missing.update(dict.fromkeys(marks))
    return Guess(tuple(tasks), left_out, tuple(missing), split, tuple(groups))


def _counts(column: Column) -> dict[str | tuple[str, ...], int]:
    """How often each value occurs; empty cells are left out."""
    numbers = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values))
    return {value: int(count) for value, count in zip(column.values, numbers, strict=True) if count}


def _is_split(counts: Mapping[str | tuple[str, ...], int], rows: int) -> bool:
    names = {str(value).lower() for value in counts}
    codes = {SPLIT_NAMES[name] for name in names if name in SPLIT_NAMES}
    return bool(names) and names <= set(SPLIT_NAMES) and {0, 1} <= codes and sum(counts.values()) == rows


def _marks(counts: Mapping[str | tuple[str, ...], int]) -> list[str]:
    """Values that mean "no label" here."""
    present = [value for value in counts if isinstance(value, str)]
    found = [value for value in present if value in NO_LABEL and value != "-1"]
    others = [value for value in present if value not in NO_LABEL]
    if "-1" in present and others and all(_NUMBER.fullmatch(v) and float(v) >= 0 for v in others):
        found.append("-1")
    return found


def _is_group(name: str, counts: Mapping[str | tuple[str, ...], int]) -> bool:
    """`product_id`, `PatientID`: few rows per value, but more than one."""
    named = re.search(
        r"(^|_|-|\b)(id|uid|uuid|group|session|patient|subject)$|[a-z]I[Dd]$", name, re.IGNORECASE
    )
    return named is not None and 1 < len(counts) < sum(counts.values())


def _judge(
    name: str, counts: Mapping[str | tuple[str, ...], int], rows: int, taken: Collection[str]
) -> GuessedTask | str:
    """The task of a column, or why it is none."""
    total = sum(counts.values())
    if not counts:
        return "empty"
    if any(isinstance(value, tuple) for value in counts):
        tags = Counter(tag for value, count in counts.items() for tag in value for _ in range(min(count, 50)))
        classes = tuple(sorted(tags, key=sort_key))
        return GuessedTask(_task_name(name, taken), name, "multilabel", classes, rows - total)
    texts = {str(value): count for value, count in counts.items()}
    if len(texts) == 1:
        return f"always {next(iter(texts))!r}"
    separated = _separator(texts)
    if separated is not None:
        separator, tags_found = separated
        task = _task_name(name, taken)
        return GuessedTask(task, name, "multilabel", tags_found, rows - total, separator=separator)
    if len(texts) == 2:
        return _two_values(name, texts, rows - total, taken)
    if len(texts) == total:
        return "different in every row"
    if all(_NUMBER.fullmatch(value) for value in texts) and (
        len(texts) > MOST_NUMBERS or not all(float(value).is_integer() for value in texts)
    ):
        return "numbers that seem to measure something"
    if max(map(len, texts)) > 3 * LONGEST_TAG:
        return "long texts"
    if total < FEWEST_PER_CLASS * len(texts):
        return f"{len(texts):,} different values in {total:,} rows"
    classes = tuple(sorted(texts, key=sort_key))
    return GuessedTask(_task_name(name, taken), name, "multiclass", classes, rows - total)


def _two_values(name: str, counts: Mapping[str, int], missing: int, taken: Collection[str]) -> GuessedTask:
    """A binary task: a word for yes is positive, else what is no word for no, else what is rarer."""
    first, second = sorted(counts, key=sort_key)
    yes = [value for value in (first, second) if value.lower() in YES]
    no = [value for value in (first, second) if value.lower() in NO]
    if len(yes) == 1:
        positive = yes[0]
    elif len(no) == 1:
        positive = second if no[0] == first else first
    else:
        positive = first if counts[first] < counts[second] else second
    return GuessedTask(_task_name(name, taken), name, "binary", (first, second), missing, positive=positive)


def _separator(counts: Mapping[str, int]) -> tuple[str, tuple[str, ...]] | None:
    """What separates the tags of a column, and the tags: short, and each found in several cells."""
    for separator in SEPARATORS:
        several = [value for value in counts if separator in value]
        if len(several) < 2:
            continue
        tags: Counter[str] = Counter()
        for value, count in counts.items():
            for tag in value.split(separator):
                if tag.strip():
                    tags[tag.strip()] += count
        sentences = any(len(tag) > LONGEST_TAG or len(tag.split()) > 3 for tag in tags)
        numbers = separator == "," and all(_NUMBER.fullmatch(tag) for tag in tags)
        if (
            not sentences
            and not numbers
            and len(tags) > 1
            and sum(tags.values()) >= FEWEST_PER_CLASS * len(tags)
        ):
            return separator, tuple(sorted(tags, key=sort_key))
    return None


def _task_name(column: str, taken: Collection[str]) -> str:
    """The column's name as a task may be called."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_")
    if not name or not name[0].isalpha():
        name = f"task_{name}".rstrip("_")
    name = name[:50]
    if name in RESERVED_NAMES:
        name += "_label"
    unique = name
    number = 2
    while unique in taken:
        unique = f"{name}_{number}"
        number += 1
    return unique


IMAGE_NAMES = (
    "image",
    "path",
    "image_path",
    "file",
    "filename",
    "file_name",
    "img",
    "url",
    "uri",
    "photo",
    "picture",
)
"""Usual names of image columns, for when several could be one."""


def guess_image_column(columns: Mapping[str, Sequence[str]], suffixes: Collection[str]) -> str | None:
    """The column whose cells mostly look like image files; `columns` has a sample of the text in each."""
    best: tuple[float, int, str] | None = None
    for position, (name, cells) in enumerate(columns.items()):
        full = [cell.strip().lower().partition("?")[0] for cell in cells if cell.strip()]
        if not full:
            continue
        share = sum(cell.endswith(tuple(suffixes)) for cell in full) / len(full)
        if share < 0.5:
            continue
        known = (
            IMAGE_NAMES.index(name.lower()) if name.lower() in IMAGE_NAMES else len(IMAGE_NAMES) + position
        )
        if best is None or (-share, known) < best[:2]:
            best = (-share, known, name)
    return best[2] if best else None
