"""`equipoise init`: a commented experiment file, guessed from data."""

import csv
import itertools
import json
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import ConfigError
from orchestrator.guess import Guess, GuessedTask, guess_columns, guess_image_column
from orchestrator.spec import parse_spec
from trainables.config.data import DataConfig
from trainables.data.folder import SUFFIXES as IMAGE_SUFFIXES
from trainables.data.images import UnreadableImageError, quiet_pillow, read_header
from trainables.data.prepare import kept_rows, resolve, task_columns
from trainables.data.rows import EncodedImages, Rows
from trainables.data.sources import read_source
from trainables.data.splits import assign_split
from trainables.data.table import SUFFIXES as TABLE_SUFFIXES
from trainables.errors import DataError

SAMPLE = 200
"""Rows that are looked at to find the column of the images."""
IMAGES = 64
"""Images that are looked at to find their size."""
LARGEST_SIDE = 128
"""Pixels. Larger images are scaled down to this at first, which a CPU can still train on."""
SMALL_SIDE = 40
"""Pixels up to which a small-image ResNet suits better than one made for photographs."""
WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf")
"""Text that YAML, or a reader who knows older YAML, takes for something else."""
SPECIAL = ("builtin:", "idx:", "torchvision:")


@dataclass(frozen=True)
class _Source:
    """Where the data is, as it will stand in the file."""

    written: str | dict[str, str]
    image: str | None
    root: str | None
    name: str


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
    if output.exists() and not force:
        raise ConfigError(
            f"{output} exists already.", "Choose another name with -o, or replace it with --force."
        )
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"{output.parent} is no folder.", "Make it first, or choose another name with -o.")
    base = output.absolute().parent
    source = _source(sources, base)
    rows = read_source(_data_config(source), base)
    guess = guess_columns(rows, skip={source.image} if source.image else ())
    guess, dropped = _trainable(rows, source, guess)
    if not guess.tasks:
        seen = "; ".join(f"{name}: {why}" for name, why in {**guess.left_out, **dropped}.items())
        raise DataError(f"{rows.name} has no column that could be a label ({seen}).", "", "data.source")
    size, sizes = _image_size(rows)
    text = _write(source, rows, guess, dropped, size, sizes)
    spec = parse_spec(text, name=str(output), folder=base)  # what is written must be loadable
    _save(text, output, force=force)
    return _report(output, rows, guess, dropped, sizes, spec.name)


# Sources


def _source(sources: Sequence[str], base: Path) -> _Source:
    trees = [re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*)=(.+)", source) for source in sources]
    if all(trees) and not (len(sources) == 1 and Path(sources[0]).exists()):
        named = {match[1]: match[2] for match in trees if match}
        if len(named) < len(sources):
            raise ConfigError(f"{' '.join(sources)}: two folders have the same name before the `=`.")
        for name, folder in named.items():
            if not Path(folder).is_dir():
                raise DataError(f"There is no folder {folder}.", "", f"data.source.{name}")
        written = {name: _relative(Path(folder), base) for name, folder in named.items()}
        return _Source(written, None, None, "-".join(named))
    if len(sources) != 1:
        raise ConfigError(
            f"{' '.join(sources)}: several sources must be folders written NAME=FOLDER.",
            "For example: equipoise init color=by_color shape=by_shape",
        )
    (source,) = sources
    if source.startswith(SPECIAL):
        kind, _, name = source.partition(":")
        written_name = _relative(Path(name), base) if kind == "idx" else name
        return _Source(f"{kind}:{written_name}", None, None, Path(name).name)
    if source.lower().endswith(TABLE_SUFFIXES):
        return _table(source, base)
    if not Path(source).is_dir():
        raise DataError(
            f"There is no table or folder {source}.",
            f"Tables end in {', '.join(TABLE_SUFFIXES)}; others are {', '.join(SPECIAL)}.",
            "data.source",
        )
    return _Source(_relative(Path(source), base), None, None, Path(source).resolve().name)


def _table(source: str, base: Path) -> _Source:
    """A table: the column of its images, and the folder that their paths start from."""
    remote = "://" in source
    if remote:
        return _Source(source, "path", None, Path(source).stem)
    table = Path(source)
    if not table.is_file():
        raise DataError(f"There is no file {table}.", "", "data.source")
    encoded, texts = _sample(table)
    image = encoded or guess_image_column(texts, IMAGE_SUFFIXES)
    if image is None:
        columns = ", ".join(texts) or "none"
        raise DataError(
            f"No column of {table} holds image files or encoded images. Columns: {columns}.",
            f"Looked for text that ends in {', '.join(sorted(IMAGE_SUFFIXES))}.",
            "data.image",
        )
    root = None if encoded else _root(table, [cell.strip() for cell in texts[image] if cell.strip()], base)
    return _Source(_relative(table, base), image, root, table.stem)


def _sample(table: Path) -> tuple[str | None, dict[str, list[str]]]:
    """The column of encoded images, if there is one, and some cells of each column of text."""
    if table.suffix.lower() == ".parquet":
        return _sample_parquet(table)
    with table.open(encoding="utf-8-sig", newline="", errors="replace") as stream:
        first = stream.readline()
        stream.seek(0)
        delimiter = (
            "\t" if table.suffix.lower() == ".tsv" else ";" if ";" in first and "," not in first else ","
        )
        try:
            rows = list(itertools.islice(csv.reader(stream, delimiter=delimiter), SAMPLE + 1))
        except csv.Error as error:
            raise DataError(f"{table} is not a CSV table: {error}.", "", "data.source") from error
    if not rows:
        raise DataError(f"{table} is empty.", "", "data.source")
    header = [name.strip() for name in rows[0]]
    return None, {name: [row[n] for row in rows[1:] if n < len(row)] for n, name in enumerate(header)}


def _sample_parquet(table: Path) -> tuple[str | None, dict[str, list[str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(table)
        kinds = {field.name: field.type for field in file.schema_arrow}
        for name, kind in kinds.items():
            parts = {field.name for field in kind} if pa.types.is_struct(kind) else set()
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or "bytes" in parts:
                return name, {}
        first = next(file.iter_batches(batch_size=SAMPLE), None)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{table} is not a Parquet table: {str(error).splitlines()[0]}", "", "data.source"
        ) from error
    if first is None:
        raise DataError(f"{table} has no rows.", "", "data.source")
    cells = {name: first.column(n).to_pylist() for n, name in enumerate(first.schema.names)}
    return None, {name: [cell for cell in found if isinstance(cell, str)] for name, found in cells.items()}


def _root(table: Path, paths: list[str], base: Path) -> str | None:
    """The folder that the paths of a table start from; None: the folder of the table, or not found."""
    local = [path for path in paths[:20] if "://" not in path]
    if not local:
        return None
    if all(Path(path).is_absolute() for path in local):
        common = Path(os.path.commonpath([str(Path(path).parent) for path in paths if "://" not in path]))
        return str(common)
    folder = table.absolute().parent
    candidates = itertools.chain([folder], itertools.islice(_folders_below(folder), 500))
    for candidate in candidates:
        if all((candidate / path).is_file() for path in local):
            return None if candidate == folder else _like(table, candidate, base)
    return None


def _like(table: Path, folder: Path, base: Path) -> str:
    """`folder` as it should be written where `table` is written like that."""
    return str(folder) if table.is_absolute() else os.path.relpath(folder, base)


def _folders_below(folder: Path, depth: int = 2) -> Iterable[Path]:
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return
    yield from inside
    if depth > 1:
        for path in inside:
            yield from _folders_below(path, depth - 1)


def _relative(path: Path, base: Path) -> str:
    """`path` as seen from the experiment file; absolute paths stay absolute."""
    if path.is_absolute():
        return str(path)
    return os.path.relpath(path.absolute(), base)


def _data_config(source: _Source, **more: Any) -> DataConfig:
    given = {"source": source.written, "image": source.image, "root": source.root, **more}
    return DataConfig.model_validate({key: value for key, value in given.items() if value is not None})


# Judging


def _trainable(rows: Rows, source: _Source, guess: Guess) -> tuple[Guess, dict[str, str]]:
    """`guess` without the tasks that the data does not support, and why they are left out."""
    dropped: dict[str, str] = {}
    while guess.tasks:
        spec = parse_spec(_write(source, rows, guess, {}, None, ()), name="experiment")
        try:
            chosen = kept_rows(rows, spec.data)
            columns = task_columns(chosen, spec.data, spec.tasks)
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
    with quiet_pillow():
        for row in np.unique(np.linspace(0, len(rows) - 1, IMAGES).astype(int)).tolist():
            try:
                header = read_header(
                    rows.images.read(rows.images.items[row]), DataConfig(source="x").max_pixels
                )
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


# Writing


def _write(
    source: _Source,
    rows: Rows,
    guess: Guess,
    dropped: dict[str, str],
    size: int | tuple[int, int] | None,
    sizes: tuple[tuple[int, int], ...],
) -> str:
    """The text of the experiment file."""
    lines = [
        f"# From {rows.name}, {len(rows):,} images, by `equipoise init`. Everything is a guess: change it.",
        "# `equipoise check` says what it makes of your data; `equipoise schema` has every key with its meaning,",
        "# and so has docs/experiment-files.md of the source.",
        "",
        f"name: {_name(source.name)}",
        "seed: 0",
        "",
        "data:",
        *_data_lines(source, rows, guess, size, sizes),
        "",
        "tasks:",
        *(line for task in guess.tasks for line in _task_lines(task)),
        *(f"  # {name} is no task: {why}" for name, why in {**guess.left_out, **dropped}.items()),
        "",
        "model:",
        *_model_lines(size, rows),
        "  heads:",
        "    default: {kind: mlp, hidden: [128]}",
        "",
        "training:",
        "  epochs: 20",
        f"  batch_size: {_batch_size(len(rows))}",
        "  optimizer: {name: adamw, lr: 1e-3, weight_decay: 0.05}",
        "  schedule: {name: cosine, warmup: 0.05}",
        "",
        "search:                       # `equipoise search`; `equipoise train` ignores it",
        "  trials: 20",
        "  stop_early: {kind: asha, min_epochs: 3}",
        "  space:",
    ]
    names = [task.name for task in guess.tasks]
    if len(names) > 1:
        floor = min(0.05, round(0.5 / len(names), 3))
        lines.append(f"    balancing.weights: {{simplex: [{', '.join(names)}], min: {floor}}}")
    lines += [
        "    model.heads.default.hidden: {choice: [[], [128], [256]]}     # [] is a linear head",
        "    training.optimizer.lr: {log: [1e-4, 1e-2]}",
    ]
    return "\n".join(lines) + "\n"


def _data_lines(
    source: _Source,
    rows: Rows,
    guess: Guess,
    size: int | tuple[int, int] | None,
    sizes: tuple[tuple[int, int], ...],
) -> list[str]:
    lines = []
    if isinstance(source.written, dict):
        trees = ", ".join(f"{name}: {_scalar(tree)}" for name, tree in source.written.items())
        lines.append(f"  source: {{{trees}}}")
    else:
        lines.append(f"  source: {_scalar(source.written)}")
    if source.image:
        lines.append(f"  image: {_scalar(source.image)}")
    if source.root:
        lines.append(f"  root: {_scalar(source.root)}")
    if guess.split:
        lines.append(f"  split: {{column: {_scalar(guess.split)}}}")
    elif rows.split is None:
        lines.append("  split: {train: 0.8, val: 0.1, test: 0.1}")
        lines += [
            f"  # split: {{train: 0.8, val: 0.1, test: 0.1, group: {_scalar(group)}}}"
            f"     # if rows with the same {group} must stay together"
            for group in guess.groups
        ]
    else:
        lines.append("  # split: the one that the source has")
    if guess.missing:
        marks = ", ".join(_scalar(mark) for mark in ("", *guess.missing))
        lines.append(
            f"  missing: [{marks}]     # cells that mean: no label. The image stays, without this task."
        )
    if size is not None:
        written = size if isinstance(size, int) else f"[{size[0]}, {size[1]}]"
        low, high = sizes[0] if sizes else (0, 0), sizes[-1] if sizes else (0, 0)
        seen = f"{low[1]}×{low[0]}" + (f" to {high[1]}×{high[0]}" if high != low else "")
        lines.append(f"  image_size: {written}     # the images are {seen} pixels")
    lines.append("  augment: light     # none | light | strong: strong also flips and rotates")
    return lines


def _task_lines(task: GuessedTask) -> list[str]:
    shown = ", ".join(task.classes[:6]) + (", …" if len(task.classes) > 6 else "")
    about = f"{len(task.classes)} {'tags' if task.type == 'multilabel' else 'classes'}: {shown}"
    if task.missing:
        about += f"; {task.missing:,} without label"
    keys = [f"type: {task.type}", f"label: {_scalar(task.column)}"]
    if task.positive is not None:
        keys.append(f"positive: {_scalar(task.positive)}")
    if task.separator is not None:
        keys.append(f'separator: "{task.separator}"')
    return [f"  # {_comment(about)}", f"  {_scalar(task.name)}: {{{', '.join(keys)}}}"]


def _model_lines(size: int | tuple[int, int] | None, rows: Rows) -> list[str]:
    side = max(size) if isinstance(size, tuple) else size
    if side is None or side <= SMALL_SIDE:
        return [
            "  backbone: {name: small_resnet, blocks: 1}     # or resnet18, or another torchvision classifier"
        ]
    return [
        "  backbone: resnet18     # or any other torchvision classifier, or my_package.module:function",
        "  weights: null          # default: start from weights trained on ImageNet (downloaded once)",
    ]


def _batch_size(rows: int) -> int:
    """About 20 steps per epoch or more, between 16 and 256."""
    for size in (256, 128, 64, 32):
        if rows * 0.8 >= 20 * size:
            return size
    return 16


def _name(text: str) -> str:
    """A name for the experiment."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80]
    return _scalar(name or "experiment")


def _scalar(text: str) -> str:
    """`text` as a YAML scalar, quoted only where it must be."""
    plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", text) and text.lower() not in WORDS
    special = re.fullmatch(r"(builtin|idx|torchvision):[A-Za-z0-9_./-]+", text)
    return text if plain or special else json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    """`text` on one line and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."


def _save(text: str, output: Path, *, force: bool) -> None:
    """Write the file whole or not at all, and never over another one unless forced."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        if force:
            temporary.replace(output)
        else:
            os.link(temporary, output)
    except FileExistsError:
        raise ConfigError(f"{output} exists already.", "Replace it with --force.") from None
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


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
