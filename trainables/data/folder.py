"""Class-per-folder trees: `tree/<class>/<image>` or `tree/<split>/<class>/<image>`."""

import filecmp
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.locations import Locations, read_image
from trainables.data.rows import EncodedImages, Rows
from trainables.data.splits import NAMES
from trainables.errors import DataError

SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".mpo",
        ".png",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".webp",
        ".avif",
        ".jp2",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    )
)
"""Files with other endings are not images and are passed over."""

COLUMN = "label"
"""Label column of a single tree."""


@dataclass(frozen=True)
class _Found:
    """An image of a tree: `name` below its class folder, class and split (None if there are no splits)."""

    name: str
    label: str
    split: int | None
    file: Path


def read_tree(tree: Path, root: Path | None, parts: Sequence[str] = ()) -> Rows:
    """One tree, with the label column `label`; an image is identified by its path below the tree.

    Args:
        tree: the folder.
        root: where symbolic links may lead; default the folder that holds the tree.
        parts: the split folders, where the tree may hold other things beside them.
    """
    locations = Locations(root or tree.parent)
    found, folders, notes = _scan(tree, locations, "data.source", parts)
    rows = [(_identity(tree, image), image) for image in found]
    rows.sort(key=lambda row: row[0])
    labels = [image.label for _, image in rows]
    return Rows(
        name=str(tree),
        ids=[identity for identity, _ in rows],
        images=EncodedImages([image.file for _, image in rows], read_image),
        columns={COLUMN: lambda: labels},
        split=_splits([image.split for _, image in rows]),
        places=[str(image.file) for _, image in rows],
        watched=(*folders, *(image.file for _, image in rows)),
        notes=tuple(notes),
    )


def read_trees(trees: Mapping[str, Path], root: Path | None) -> Rows:
    """Several trees over the same images, one label column per tree, joined by file name.

    An image that is missing in a tree has no label in its column.

    Raises:
        DataError: a name twice in a tree, or different images or splits of one name.
    """
    first = next(iter(trees.values()))
    locations = Locations(
        root or Path(os.path.commonpath([tree.parent for tree in trees.values()] or [first]))
    )
    by_name: dict[str, dict[str, _Found]] = {}
    watched: list[Path] = []
    notes: list[str] = []
    for column, tree in trees.items():
        found, folders, remarks = _scan(tree, locations, f"data.source.{column}")
        watched += folders
        notes += remarks
        for image in found:
            known = by_name.setdefault(image.name, {})
            if column in known:
                raise DataError(
                    f"{image.name!r} is in the tree of {column!r} twice:"
                    f" {known[column].file} and {image.file}.",
                    "Trees are joined by file name; each may have a name once.",
                    f"data.source.{column}",
                )
            for other in known.values():
                _require_same(other, image, column)
            known[column] = image
            watched.append(image.file)
    names = sorted(by_name)
    images = [next(iter(by_name[name].values())) for name in names]
    return Rows(
        name=" + ".join(str(tree) for tree in trees.values()),
        ids=names,
        images=EncodedImages([image.file for image in images], read_image),
        columns={
            column: lambda column=column: [  # type: ignore[misc]
                by_name[name][column].label if column in by_name[name] else None for name in names
            ]
            for column in trees
        },
        split=_splits([image.split for image in images]),
        places=[str(image.file) for image in images],
        watched=tuple(watched),
        notes=tuple(notes),
    )


def _scan(
    tree: Path, locations: Locations, key: str, parts: Sequence[str] = ()
) -> tuple[list[_Found], list[Path], list[str]]:
    """Images, all folders, and remarks."""
    if not tree.is_dir():
        raise DataError(
            f"There is no folder {tree}.", "Write the folder that holds one folder per class.", key
        )
    folders = [tree]
    tops = [tree / part for part in parts] or _subfolders(tree)
    split_tops = {top: NAMES[top.name.lower()] for top in tops if top.name.lower() in NAMES}
    has_splits = len(split_tops) == len(tops) > 0 and 0 in split_tops.values()
    branches: list[tuple[Path, int | None]] = [(tree, None)]
    if has_splits:
        branches = list(split_tops.items())
        folders += tops
    found: list[_Found] = []
    stray = 0
    for branch, code in branches:
        stray += sum(_is_image(entry.name) for entry in os.scandir(branch) if not entry.is_dir())
        for class_folder in _subfolders(branch):
            for file, below in _files(class_folder, folders, locations):
                found.append(_Found(below, class_folder.name, code, file))
    if not found:
        raise DataError(f"No folder in {tree} holds an image.", "It must hold one folder per class.", key)
    notes = [f"{tree}: {stray} images lie outside any class folder and are not used."] if stray else []
    return found, folders, notes


def _files(top: Path, folders: list[Path], locations: Locations) -> list[tuple[Path, str]]:
    """All images below a class folder, with their path below it; adds the folders passed to `folders`."""
    found = []
    seen: set[str] = set()
    for place, inner, names in os.walk(top, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        folders.append(Path(place))
        for name in sorted(names):
            if _is_image(name):
                path = str(Path(place) / name)
                file = locations.find(path, str(top))
                found.append((Path(file), os.path.relpath(path, top)))
    return found


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122


def _identity(tree: Path, image: _Found) -> str:
    return str(image.file.relative_to(tree))


def _splits(codes: list[int | None]) -> np.ndarray[tuple[int], np.dtype[np.int8]] | None:
    known = [code for code in codes if code is not None]
    return np.array(known, dtype=np.int8) if len(known) == len(codes) else None


def _require_same(known: _Found, image: _Found, column: str) -> None:
    """Two trees mean the same picture by a name, in the same split."""
    if known.split != image.split:
        raise DataError(
            f"{image.name!r} is in different splits: {known.file} and {image.file}.",
            "Put it into the same split folder of every tree, or into none.",
            f"data.source.{column}",
        )
    try:
        same = known.file.samefile(image.file) or filecmp.cmp(known.file, image.file, shallow=False)
    except OSError:
        return  # said when it is decoded
    if not same:
        raise DataError(
            f"{known.file} and {image.file} have one name but are different files.",
            "Trees are joined by file name: a name must mean the same image in each.",
            f"data.source.{column}",
        )
