"""`equipoise init`: a commented experiment file, guessed from data."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.init.guess import Guess, guess_columns
from orchestrator.init.source import Source, data_config, find_source
from orchestrator.init.text import write_text
from orchestrator.new_file import require_new, write_new
from orchestrator.spec import parse_spec
from trainables.config.data import DataConfig
from trainables.data.examples import kept_rows, label_column
from trainables.data.images import UnreadableImageError, read_header, silence_pillow
from trainables.data.prepare import resolve
from trainables.data.rows import EncodedImages, Rows
from trainables.data.sources import read_source
from trainables.data.splits import assign_split
from trainables.errors import DataError

IMAGES = 64
"""Images that are looked at to find their size."""
LARGEST_SIDE = 128
"""Pixels. Larger images are scaled down to this at first, which a CPU can still train on."""


def initialise(sources: Sequence[str], output: Path, *, force: bool = False) -> str:
    """Write an experiment file for `sources` to `output`; returns what was guessed, for the user to read.

    Args:
        sources: one table, folder, `idx:DIR`, `builtin:NAME` or `torchvision:NAME`; or `column=folder`s.
        output: the file to write; whole or not at all.
        force: replace an existing file.

    Raises:
        ConfigError: the output exists, or sources are not written as above.
        DataError: the data cannot be read, or has no column that could be a label.
    """
    require_new(output, force=force)
    base = output.absolute().parent
    source = find_source(sources, base)
    rows = read_source(source.written, data_config(source), base)
    guess = guess_columns(rows, skip={source.image} if source.image else ())
    guess, dropped = _trainable(rows, source, guess)
    if not guess.tasks:
        seen = "; ".join(f"{name}: {why}" for name, why in {**guess.left_out, **dropped}.items())
        raise DataError(f"{rows.name} has no column that could be a label ({seen}).", "", "data.source")
    size, sizes = _image_size(rows)
    text = write_text(source, rows, guess, dropped, size, sizes)
    spec = parse_spec(text, name=str(output), folder=base)  # what is written must be loadable
    write_new(text, output, force=force)
    return _report(output, rows, guess, dropped, sizes, spec.name)


def _trainable(rows: Rows, source: Source, guess: Guess) -> tuple[Guess, dict[str, str]]:
    """`guess` without the tasks that the data does not support, and why they are left out."""
    dropped: dict[str, str] = {}
    while guess.tasks:
        spec = parse_spec(write_text(source, rows, guess, {}, None, ()), name="experiment")
        try:
            chosen = kept_rows(rows, spec.data)
            columns = {
                name: label_column(chosen, spec.data, task.label, f"tasks.{name}.label")
                for name, task in spec.tasks.items()
            }
            resolve(spec.tasks, columns, assign_split(chosen, spec.data, spec.tasks, columns, spec.seed))
        except DataError as error:
            parts = (error.key or "").split(".")
            if parts[0] == "data" and guess.split is not None:
                guess = replace(guess, split=None)
                continue
            if parts[0] != "tasks" or len(parts) < 2:
                raise
            dropped[next(task.column for task in guess.tasks if task.name == parts[1])] = error.message
            guess = replace(guess, tasks=tuple(task for task in guess.tasks if task.name != parts[1]))
            continue
        break
    return guess, dropped


def _image_size(rows: Rows) -> tuple[int | tuple[int, int] | None, tuple[tuple[int, int], ...]]:
    """The size to train with, and the sizes (height, width) seen. None: all have one size, which is kept."""
    if not isinstance(rows.images, EncodedImages):
        return None, ()
    seen: list[tuple[int, int]] = []
    silence_pillow()
    for row in np.unique(np.linspace(0, len(rows) - 1, IMAGES).astype(int)).tolist():
        try:
            header = read_header(rows.images.read(rows.images.items[row]), DataConfig(source="x").max_pixels)
        except (OSError, UnreadableImageError):
            continue  # `check` names them all
        seen.append(header.size)
    if not seen:
        raise DataError(
            f"None of the images of {rows.name} that were tried can be read, first {rows.place(0)}.",
            "Are the paths right as seen from the table? If not, data.root names the folder they start from.",
            "data.root",
        )
    sizes = tuple(sorted(set(seen)))
    if len(sizes) == 1 and max(sizes[0]) <= LARGEST_SIDE:
        height, width = sizes[0]
        return (height if height == width else (height, width)), sizes
    short = statistics.median(min(size) for size in seen)
    return int(min(LARGEST_SIDE, max(16, short // 8 * 8))), sizes


def _report(
    output: Path,
    rows: Rows,
    guess: Guess,
    dropped: dict[str, str],
    sizes: tuple[tuple[int, int], ...],
    name: str,
) -> str:
    """What was guessed, and what to do next."""
    lines = [f"{output}: experiment {name}, {len(rows):,} images"]
    for task in guess.tasks:
        detail = f"{len(task.classes)} {'tags' if task.type == 'multilabel' else 'classes'}"
        if task.positive is not None:
            detail = f"yes is {task.positive!r}"
        if task.missing:
            detail += f", {task.missing:,} without label"
        lines.append(f"  task {task.name}: {task.type}, column {task.column} ({detail})")
    if guess.split:
        lines.append(f"  splits from column {guess.split}")
    lines += [f"  column {name} may be a group: see the comment in data.split" for name in guess.groups]
    lines += [
        f"  column {name} left out: {why}"
        for name, why in {**guess.left_out, **dropped}.items()
        if name not in guess.groups
    ]
    lines.append(f"Next: equipoise check {output}")
    return "\n".join(lines)
