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
from trainables.data.cache import Cache, cache_root, digest_of, stamp, writing
from trainables.data.columns import Column
from trainables.data.decode import DecodedImages, Progress, pillow_version
from trainables.data.decode_sources import decode_sources
from trainables.data.examples import Examples, read_examples, stop, told
from trainables.data.labels import resolve_task
from trainables.data.prepared import FORMAT, SPLITS, PreparedData, TaskLabels, load_prepared, write_prepared
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
        examples = read_examples(data, tasks, seed=seed, base=base, tell=stop)
        watched = [path for source in examples.sources for path in source.rows.watched]
        stamped, trusted = stamp(watched, began)
        prepared, lasting = _prepare(cache, examples, data, tasks, progress)
        if trusted and lasting and all(source.rows.watched for source in examples.sources):
            cache.remember(request, prepared.directory, watched, stamped)
        return prepared


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
    examples: Examples,
    data: DataConfig,
    tasks: Mapping[str, TaskConfig],
    progress: Progress | None,
) -> tuple[PreparedData, bool]:
    """The prepared data, and whether it will be the same as long as no file changes."""
    split = examples.split
    with told(stop, examples.key):  # before decoding: what is wrong with labels is said at once
        resolved = resolve(tasks, examples.columns, split)
    images = decode_sources(cache, examples.sources, data, progress)
    dropped: dict[str, int] = {}
    if images.unreadable:
        if data.unreadable == "error":
            raise unreadable_error(examples, images)
        lost = np.array(sorted(images.unreadable), dtype=np.int64)
        dropped = {name: int((split[lost] == code).sum()) for code, name in enumerate(SPLITS)}
        split[lost] = -1
        with told(stop, examples.key):
            resolved = resolve(tasks, examples.columns, split)
    return _store(cache, examples, images, resolved, dropped), images.lasting


def unreadable_error(examples: Examples, images: DecodedImages) -> DataError:
    """Names the first unreadable images."""
    lines = [f"\n  {examples.place(row)}: {reason}" for row, reason in sorted(images.unreadable.items())[:5]]
    more = f"\n  and {len(images.unreadable) - 5} more" if len(images.unreadable) > 5 else ""
    return DataError(
        f"{len(images.unreadable)} of {len(examples)} images cannot be read:{''.join(lines)}{more}\n",
        "Repair them, or leave them out with data.unreadable: drop.",
        "data.unreadable",
    )


def _store(
    cache: Cache, examples: Examples, images: DecodedImages, resolved: Resolved, dropped: dict[str, int]
) -> PreparedData:
    ids = examples.ids()
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

        def fill(folder: Path) -> None:
            with writing(cache.root):
                write_prepared(
                    folder,
                    digest=digest,
                    images=[f"../../images/{folder.name}" for folder in images.directories],
                    ids=ids,
                    labels=resolved.labels,
                    classes=resolved.classes,
                    splits=resolved.splits,
                    mean=mean,
                    std=std,
                    dropped=dropped,
                    sources=examples.named_ranges,
                )

        cache.add_folder(f"prepared/{digest}", fill, lambda folder: _loaded(folder) is not None)
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
        "data": data.model_dump(mode="json", exclude={"augment", "cache", "mixing"}),
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
