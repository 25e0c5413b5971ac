"""CSV and Parquet tables: one row per example, one column with its image."""

import contextlib
import csv
import difflib
import functools
import hashlib
import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from trainables.config.data import DataConfig
from trainables.data.cache import digest_of
from trainables.data.locations import Locations, read_image, read_uri
from trainables.data.rows import Cells, EncodedImages, Rows
from trainables.errors import DataError

SUFFIXES = (".csv", ".tsv", ".parquet")
"""Of the tables that are read."""


def read_table(data: DataConfig, source: str, base: Path) -> Rows:
    """The rows of a table, sorted by image, so that their order in the table has no influence.

    Raises:
        DataError: no such table or column, a broken table, or images outside `data.root`.
    """
    remote = "://" in source
    table: Path | io.BytesIO
    path = base / Path(source).expanduser()
    if remote:
        try:
            table = io.BytesIO(read_uri(source))
        except OSError as error:
            raise DataError(f"The table {source} cannot be read: {error}.", "", "data.source") from error
    else:
        _require_file(path)
        table = path
    root = base if remote else path.parent
    if data.root is not None:
        root = base / Path(data.root).expanduser()
    if source.lower().endswith(".parquet"):
        return _read_parquet(data, source, table, () if remote else (path,), root)
    return _read_csv(data, source, table, () if remote else (path,), root)


def _read_csv(
    data: DataConfig, source: str, table: Path | io.BytesIO, watched: tuple[Path, ...], root: Path
) -> Rows:
    try:
        content = table.read_bytes() if isinstance(table, Path) else table.getvalue()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}.", "", "data.source") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{source} line {line}: not UTF-8 text (byte {content[error.start]:#x}).",
            "Save it as UTF-8, or as Parquet.",
            "data.source",
        ) from error
    header, cells, lines = _parse_csv(source, text)
    if data.image not in header:
        raise _no_image_column(source, header, data.image)
    columns = {name: [row[n] for row in cells] for n, name in enumerate(header)}
    places = [f"{source} line {line}" for line in lines]
    return _referenced(
        source,
        columns[data.image],
        places,
        {name: _giver(found) for name, found in columns.items()},
        watched,
        root,
    )


def _parse_csv(source: str, text: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line that each row ends on."""
    first = text.split("\n", 1)[0]
    delimiter = "\t" if source.lower().endswith(".tsv") else ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{source} line {reader.line_num}: {len(row)} cells, but the header has {len(header)}.",
                    "Put cells that contain the separator into double quotes.",
                    "data.source",
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"{source} line {reader.line_num}: not a CSV table: {error}.", "", "data.source"
        ) from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{source} has the column {twice[0]!r} twice.", "Rename one of them.", "data.source")
    if not rows:
        raise DataError(f"{source} has no rows.", "", "data.source")
    return header, rows, lines


def _read_parquet(
    data: DataConfig, source: str, table: Path | io.BytesIO, watched: tuple[Path, ...], root: Path
) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _undamaged(source):
        file = pq.ParquetFile(table)
    header = file.schema_arrow.names
    if data.image not in header:
        raise _no_image_column(source, header, data.image)
    if file.metadata.num_rows == 0:
        raise DataError(f"{source} has no rows.", "", "data.source")
    columns: dict[str, Callable[[], Cells]] = {
        name: functools.partial(_parquet_cells, source, file, name) for name in header if name != data.image
    }
    places = [f"{source} row {row}" for row in range(1, file.metadata.num_rows + 1)]
    kind = file.schema_arrow.field(data.image).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        references = [cell or "" for cell in _parquet_cells(source, file, data.image)]
        columns[data.image] = _giver(references)
        return _referenced(source, references, places, columns, watched, root)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    parts = {field.name for field in kind} if pa.types.is_struct(kind) else set()
    if not binary and "bytes" not in parts:
        raise DataError(
            f"Column {data.image!r} of {source} holds {kind}, not images.",
            "It must hold paths (text), encoded images (binary), or structs with the field `bytes`.",
            "data.image",
        )
    cells = _EncodedCells(file, data.image)
    with _undamaged(source):
        digests, paths = cells.identify()
    if parts and not any(digests):
        # Structs whose bytes are empty throughout only name files.
        return _referenced(source, [path or "" for path in paths], places, columns, watched, root)
    origins = [digest or place for digest, place in zip(digests, places, strict=True)]
    named = all(paths) and len(set(paths)) == len(paths)
    rows = Rows(
        name=source,
        ids=[str(path) for path in paths] if named else _numbered(origins),
        images=EncodedImages(list(range(len(places))), cells.read, watched, digest_of(*digests)),
        columns=columns,
        origins=origins,
        places=places,
        watched=watched,
    )
    return _sorted(rows)


class _EncodedCells:
    """Encoded images of a Parquet column, of which a few row groups at a time are in memory."""

    def __init__(self, file: Any, column: str) -> None:
        self.file = file
        self.column = column
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self.starts = np.cumsum([0, *sizes]).tolist()
        self.groups: dict[int, Any] = {}
        self.lock = Lock()

    def read(self, row: int) -> bytes:
        """The encoded image of a row."""
        content, _ = self._cell(row)
        if content is None:
            raise OSError("the cell is empty")
        return content

    def identify(self) -> tuple[list[str], list[str | None]]:
        """Hash of the bytes of every row ("" for none) and, of structs, the path."""
        digests, paths = [], []
        for row in range(self.starts[-1]):
            content, path = self._cell(row)
            digests.append(
                hashlib.blake2b(content, digest_size=12).hexdigest() if content is not None else ""
            )
            paths.append(path)
        return digests, paths

    def _cell(self, row: int) -> tuple[bytes | None, str | None]:
        group = bisect_right(self.starts, row) - 1
        with self.lock:
            if group not in self.groups:
                while len(self.groups) > 1:
                    del self.groups[next(iter(self.groups))]
                self.groups[group] = self.file.read_row_group(group, columns=[self.column]).column(0)
            cells = self.groups[group]
        cell = cells[row - self.starts[group]].as_py()
        if isinstance(cell, Mapping):
            return cell["bytes"], cell.get("path")
        return cell, None


def _referenced(
    source: str,
    references: Sequence[str],
    places: list[str],
    columns: Mapping[str, Callable[[], Cells]],
    watched: tuple[Path, ...],
    root: Path,
) -> Rows:
    """Rows whose images are files or URIs."""
    locations = Locations(root)
    origins = [cell.strip() or place for cell, place in zip(references, places, strict=True)]
    items = [
        locations.find(cell.strip(), place) if cell.strip() else None
        for cell, place in zip(references, places, strict=True)
    ]
    files = tuple(dict.fromkeys(item for item in items if isinstance(item, Path)))
    rows = Rows(
        name=source,
        ids=_numbered(origins),
        images=EncodedImages(items, read_image, waits=any(isinstance(item, str) for item in items)),
        columns=columns,
        origins=origins,
        places=[f"{place} ({cell})" for place, cell in zip(places, references, strict=True)],
        # A remote table cannot be watched, so it is read anew each time.
        watched=(*watched, *files) if watched else (),
    )
    return _sorted(rows)


def _sorted(rows: Rows) -> Rows:
    order = np.array(sorted(range(len(rows)), key=rows.ids.__getitem__), dtype=np.int64)
    return rows.take(order)


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, made unique: a second row of the same image is name#2."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique


def _parquet_cells(source: str, file: Any, name: str) -> Cells:
    with _undamaged(source):
        cells: list[Any] = file.read(columns=[name]).column(name).to_pylist()
    return cells


@contextlib.contextmanager
def _undamaged(source: str) -> Iterator[None]:
    """Say what a Parquet file's reader objects to."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"{source} is not a Parquet table, or is damaged: {reason}.", "Write it anew.", "data.source"
        ) from error


def _giver(cells: Cells) -> Callable[[], Cells]:
    return lambda: cells


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    names = [found.name for found in path.parent.glob("*")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    raise DataError(f"There is no file {path}.", f"Did you mean {near[0]!r}?" if near else "", "data.source")


def _no_image_column(source: str, header: Sequence[str], name: str) -> DataError:
    near = difflib.get_close_matches(name, header, n=1)
    return DataError(
        f"{source} has no column {name!r} with images. Columns: {', '.join(header)}.",
        f"Did you mean {near[0]!r}?" if near else "Name the column of the images with data.image.",
        "data.image",
    )
