"""What is known of data before training."""

from dataclasses import dataclass, field
from typing import Literal

ORDER = ("error", "warning", "note")
"""Of problems."""


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
class SourceReport:
    """One of several sources: its examples by split, and by task and split those that have a label."""

    splits: dict[str, int]
    labelled: dict[str, dict[str, int]]


@dataclass(frozen=True)
class DuplicateImage:
    """One picture that is in several splits: where it is found in each."""

    places: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class DataReport:
    """What is known of the data.

    Attributes:
        source: its name, or those of all sources.
        rows: examples, after `data.keep`.
        image_shape: (channels, height, width), if images could be decoded.
        splits: examples by split.
        tasks: by name; those whose labels could be resolved.
        unreadable: (place, reason) of every image that cannot be read, left out or not.
        duplicates: pictures that are in several splits, pixel for pixel.
        problems: errors first, notes last.
        sources: by name; empty with a single `source`.
    """

    source: str
    rows: int = 0
    image_shape: tuple[int, int, int] | None = None
    splits: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, TaskReport] = field(default_factory=dict)
    unreadable: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[DuplicateImage, ...] = ()
    problems: tuple[DataProblem, ...] = ()
    sources: dict[str, SourceReport] = field(default_factory=dict)
