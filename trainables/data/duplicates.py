"""Pictures that occur several times: in several splits, or with different labels."""

import numpy as np
from numpy.typing import NDArray

from trainables.data.decode import DecodedImages
from trainables.data.examples import Examples
from trainables.data.prepared import SPLITS, TaskLabels
from trainables.data.report import DataProblem, DuplicateImage


def duplicates(
    examples: Examples, images: DecodedImages, split: NDArray[np.int8]
) -> tuple[tuple[DuplicateImage, ...], list[DataProblem]]:
    """Pictures that are in more than one split, and a note on those that are in one split several times.

    Grey images and RGB ones, which differ in the cache, are not compared.
    """
    torn = []
    repeated: list[list[int]] = []
    for found in _equal_pictures(images, split):
        places: dict[str, tuple[str, ...]] = {}
        for code, name in enumerate(SPLITS):
            within = [row for row in found if split[row] == code]
            if within:
                places[name] = tuple(examples.place(row) for row in within)
            if len(within) > 1:
                repeated.append(within)
        if len(places) > 1:
            torn.append(DuplicateImage(places))
    if not repeated:
        return tuple(torn), []
    first, second = (examples.place(row) for row in repeated[0][:2])
    message = (
        f"{len(repeated)} pictures occur several times within a split, {sum(map(len, repeated))} times in all,"
        f" for example {first} and {second}."
    )
    return tuple(torn), [DataProblem("note", "data.source", message)]


def duplicate_warnings(found: tuple[DuplicateImage, ...]) -> list[DataProblem]:
    """Warnings of pictures that are in more than one split."""
    warnings = []
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = [one.places for one in found if first in one.places and second in one.places]
        if shared:
            example = f"{shared[0][first][0]} and {shared[0][second][0]}"
            warnings.append(
                DataProblem(
                    "warning",
                    "data.split",
                    f"{len(shared)} pictures are in both the {first} and the {second} split,"
                    f" pixel for pixel, for example {example}.",
                    "Keep them together with data.split.group or data.split.column, or remove the copies.",
                )
            )
    return warnings


def contradictions(
    name: str,
    examples: Examples,
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
        return f"{examples.place(row)} ({label})"

    message = (
        f"Task {name!r}: {len(pairs)} pictures occur with different labels,"
        f" for example {shown(pairs[0][0])} and {shown(pairs[0][1])}."
    )
    return [DataProblem("warning", f"tasks.{name}.label", message, "At most one of them can be right.")]


def _equal_pictures(images: DecodedImages, split: NDArray[np.int8]) -> list[list[int]]:
    """Rows that show one picture, where several do, by a hash of their decoded pixels."""
    used = np.flatnonzero(split >= 0)
    _, same, counts = np.unique(images.checks[used], return_inverse=True, return_counts=True)
    found: dict[int, list[int]] = {}
    for row in used[counts[same] > 1].tolist():
        found.setdefault(int(images.checks[row]), []).append(row)
    return list(found.values())
