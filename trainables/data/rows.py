"""What every reader returns: examples with an id, an image and raw label cells."""

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.columns import Column, encode
from trainables.errors import DataError

Cells = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True)
class ArrayImages:
    """Images that lie together in one array.

    Attributes:
        load: reads them all, (M, H, W) grey or (M, H, W, 3) RGB, uint8; only called when the cache lacks
        them. rows: (N,) which of the M images are wanted.
        files: what `load` reads; their contents and `name` determine the result.
        name: of the reader, with the version of what it does.
    """

    load: Callable[[], NDArray[np.uint8]]
    rows: NDArray[np.int64]
    files: tuple[Path, ...]
    name: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def selection(self) -> str:
        """What determines the images besides the contents of `files`."""
        return f"{self.name} {hashlib.sha256(self.rows.astype('<i8').tobytes()).hexdigest()}"

    def take(self, rows: NDArray[np.int64]) -> "ArrayImages":
        """The images of these rows."""
        return replace(self, rows=self.rows[rows])


@dataclass(frozen=True)
class EncodedImages:
    """Images in an encoded form (JPEG, PNG, ...), one by one.

    Attributes:
        items: what `read` is called with: a local file, a URI, a number inside a container, None for nothing.
        read: item to encoded bytes; an OSError says why it cannot be read.
        containers: local files that hold many images each; empty: a local file is an image.
        name: what else determines the images, such as a hash of what a container holds.
        waits: reading waits for a network, so that many threads help and a failure may pass.
    """

    items: Sequence[Path | str | int | None]
    read: Callable[[Any], bytes]
    containers: tuple[Path, ...] = ()
    name: str = ""
    waits: bool = False

    def __len__(self) -> int:
        return len(self.items)

    @property
    def files(self) -> tuple[Path, ...]:
        """Local files whose contents determine the images."""
        return self.containers or tuple(item for item in self.items if isinstance(item, Path))

    @property
    def selection(self) -> str:
        """What determines the images besides the contents of `files`."""
        return json.dumps([self.name, *("" if isinstance(item, Path) else item for item in self.items)])

    def take(self, rows: NDArray[np.int64]) -> "EncodedImages":
        """The images of these rows."""
        return replace(self, items=[self.items[row] for row in rows.tolist()])


@dataclass(frozen=True)
class Rows:
    """The examples of a source.

    Attributes:
        name: of the source, for messages.
        ids: stable and unique; the split and all randomness of an example depend on it alone.
        images: one per example.
        columns: what reads the raw cells of a column, by its name.
        order: (N,) which of those cells belong to the examples; None: all, in order.
        split: (N,) the source's own split, codes of `SPLITS`; None if it has none.
        origins: what each row shows; rows with equal origin are never split apart; empty: the ids.
        places: where each example comes from, for messages; empty: its id says it.
        watched: files and folders whose change means that the source may have changed.
        notes: remarks for `check`.
    """

    name: str
    ids: list[str]
    images: ArrayImages | EncodedImages
    columns: Mapping[str, Callable[[], Cells]]
    order: NDArray[np.int64] | None = None
    split: NDArray[np.int8] | None = None
    origins: Sequence[str] = ()
    places: Sequence[str] = ()
    watched: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str, key: str) -> Column:
        """A column, encoded.

        Raises:
            DataError: there is none of this name; says which there are, for the config key `key`.
        """
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, n=1)
            raise DataError(
                f"{self.name} has no column {name!r}. Columns: {', '.join(self.columns)}.",
                f"Did you mean {near[0]!r}?" if near else "",
                key,
            )
        column = encode(self.columns[name]())
        return column if self.order is None else column.take(self.order)

    def place(self, row: int) -> str:
        """Where a row comes from, as the user would look for it."""
        return self.places[row] if self.places else self.ids[row]

    def take(self, rows: NDArray[np.int64]) -> "Rows":
        """The source with these rows alone, in this order."""
        chosen = rows.tolist()
        return replace(
            self,
            ids=[self.ids[row] for row in chosen],
            images=self.images.take(rows),
            order=rows if self.order is None else self.order[rows],
            split=None if self.split is None else self.split[rows],
            origins=[self.origins[row] for row in chosen] if self.origins else (),
            places=[self.places[row] for row in chosen] if self.places else (),
        )
