"""Where the data for `equipoise init` is, and how the experiment file will name it."""

import csv
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.init.guess import guess_image_column
from trainables.config.data import DataConfig
from trainables.data.folder import SUFFIXES as IMAGE_SUFFIXES
from trainables.data.table import SUFFIXES as TABLE_SUFFIXES
from trainables.errors import DataError

SAMPLE = 200
"""Rows that are looked at to find the column of the images."""
SPECIAL = ("builtin:", "idx:", "torchvision:")


@dataclass(frozen=True)
class Source:
    """Where the data is, as it will stand in the file."""

    written: str | dict[str, str]
    image: str | None
    root: str | None
    name: str


def find_source(sources: Sequence[str], base: Path) -> Source:
    """The data that the user named, as an experiment file in the folder `base` will name it.

    Raises:
        ConfigError: several sources that are not `NAME=FOLDER`.
        DataError: there is no such data, or its table has no column of images.
    """
    trees = [re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*)=(.+)", source) for source in sources]
    if all(trees) and not (len(sources) == 1 and Path(sources[0]).exists()):
        named = {match[1]: match[2] for match in trees if match}
        if len(named) < len(sources):
            raise ConfigError(f"{' '.join(sources)}: two folders have the same name before the `=`.")
        for name, folder in named.items():
            if not Path(folder).is_dir():
                raise DataError(f"There is no folder {folder}.", "", f"data.source.{name}")
        written = {name: _relative(Path(folder), base) for name, folder in named.items()}
        return Source(written, None, None, "-".join(named))
    if len(sources) != 1:
        raise ConfigError(
            f"{' '.join(sources)}: several sources must be folders written NAME=FOLDER.",
            "For example: equipoise init color=by_color shape=by_shape",
        )
    (source,) = sources
    if source.startswith(SPECIAL):
        kind, _, name = source.partition(":")
        written_name = _relative(Path(name), base) if kind == "idx" else name
        return Source(f"{kind}:{written_name}", None, None, Path(name).name)
    if source.lower().endswith(TABLE_SUFFIXES):
        return _table(source, base)
    if not Path(source).is_dir():
        raise DataError(
            f"There is no table or folder {source}.",
            f"Tables end in {', '.join(TABLE_SUFFIXES)}; others are {', '.join(SPECIAL)}.",
            "data.source",
        )
    return Source(_relative(Path(source), base), None, None, Path(source).resolve().name)


def _table(source: str, base: Path) -> Source:
    """A table: the column of its images, and the folder that their paths start from."""
    remote = "://" in source
    if remote:
        return Source(source, "path", None, Path(source).stem)
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
    return Source(_relative(table, base), image, root, table.stem)


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


def data_config(source: Source, **more: Any) -> DataConfig:
    """The `data` section of `source`, with `more` keys."""
    given = {"source": source.written, "image": source.image, "root": source.root, **more}
    return DataConfig.model_validate({key: value for key, value in given.items() if value is not None})
