"""What every reader returns: examples with an id, an image and raw label cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cells = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True)
class ArrayImages:
    """Images that lie together in one array.

    Attributes:
        load: reads them all, (M, H, W) grey or (M, H, W, 3) RGB, uint8. Called only when the cache lacks them.
        rows: (N,) which of the M images are wanted.
        files: what `load` reads; their contents and `name` determine the result.
        name: of the reader, with the version of what it does.
    """

    load: Callable[[], NDArray[np.uint8]]
    rows: NDArray[np.int64]
    files: tuple[Path, ...]
    name: str

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[np.int64]) -> "ArrayImages":
        """The images of these rows."""
        return replace(self, rows=self.rows[rows])


@dataclass(frozen=True)
class EncodedImages:
    """Images in an encoded form (JPEG, PNG, ...), one by one.

    Attributes:
        items: what identifies each image to `read`.
        read: item to encoded bytes; an OSError says why it cannot be read.
        files: local files that hold them: with one file per image in the order of `items`.
        identity: of each image, besides the contents of `files`.
    """

    items: Sequence[Any]
    read: Callable[[Any], bytes]
    files: tuple[Path, ...]
    identity: Sequence[str]
    file_per_image: bool = True

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: NDArray[np.int64]) -> "EncodedImages":
        """The images of these rows."""
        chosen = rows.tolist()
        return replace(
            self,
            items=[self.items[row] for row in chosen],
            identity=[self.identity[row] for row in chosen] if self.identity else (),
            files=tuple(self.files[row] for row in chosen) if self.file_per_image else self.files,
        )


@dataclass(frozen=True)
class Rows:
    """The examples of a source.

    Attributes:
        name: of the source, for messages.
        ids: stable and unique; the split and all randomness of an example depend on it alone.
        images: one per example.
        columns: raw cells by column name.
        split: (N,) the source's own split, codes of `SPLITS`; None if it has none.
        places: where each example comes from, for messages; empty: its id says it.
        watched: files and folders whose change means that the source may have changed.
        notes: remarks for `check`.
    """

    name: str
    ids: list[str]
    images: ArrayImages | EncodedImages
    columns: Mapping[str, Cells]
    split: NDArray[np.int8] | None = None
    places: Sequence[str] = ()
    watched: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

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
            columns={
                name: cells[rows] if isinstance(cells, np.ndarray) else [cells[row] for row in chosen]
                for name, cells in self.columns.items()
            },
            split=None if self.split is None else self.split[rows],
            places=[self.places[row] for row in chosen] if self.places else (),
        )
