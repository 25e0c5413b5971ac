"""Images of several sources, seen as one array without being copied into one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class JoinedImages:
    """Arrays of images one after the other; grey ones count as RGB where others are RGB.

    They stay where they are mapped: joining costs neither memory nor disk.
    """

    def __init__(self, parts: Sequence[NDArray[np.uint8]]) -> None:
        """`parts`: (N_s, C_s, H, W), C_s = 1 or 3."""
        self.parts = tuple(parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        channels = max(part.shape[1] for part in self.parts)
        return (len(self), channels, *self.parts[0].shape[2:])

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of the images of these rows: (B, C, H, W)."""
        images = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        first = 0
        for part in self.parts:
            own = (rows >= first) & (rows < first + len(part))
            images[own] = part[rows[own] - first]
            first += len(part)
        return images
