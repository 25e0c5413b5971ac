"""Decode the images of every source once, each into a folder of its own, and look at them as one array."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from trainables.config.data import DataConfig
from trainables.data.cache import Cache
from trainables.data.chunks import Wanted
from trainables.data.decode import DecodedImages, Progress, decode_all
from trainables.data.examples import Source, stop, told
from trainables.errors import DataError


def decode_sources(
    cache: Cache, sources: Sequence[Source], data: DataConfig, progress: Progress | None
) -> DecodedImages:
    """The decoded images of all sources, from the cache or into it.

    A source's folder is that of the same source alone: what one experiment has decoded another finds. Grey
    images stay grey on disk, also where those of other sources are RGB.

    Raises:
        DataError: as `decode_all`, of the first source that has an error; or sources of different sizes.
    """
    size = (data.image_size, data.image_size) if isinstance(data.image_size, int) else data.image_size
    wanted = Wanted(size, data.channels, data.max_pixels)
    counts = [len(source.rows) for source in sources]
    parts = []
    for source, before in zip(sources, accumulate(counts, initial=0), strict=False):
        with told(stop, source.key):
            parts.append(
                decode_all(cache, source.rows.images, wanted, _further(progress, before, sum(counts)))
            )
    if len(parts) == 1:
        return parts[0]
    if len({part.shape[2:] for part in parts}) > 1:
        named = zip(sources, parts, strict=True)
        shown = ", ".join(f"{source.name} {part.shape[2]} × {part.shape[3]}" for source, part in named)
        raise DataError(
            f"The images of the sources have different sizes (height × width): {shown}.",
            "Say with data.image_size to which size they are brought, e.g. image_size: 64.",
            "data.image_size",
        )
    return _joined(parts)


def _further(progress: Progress | None, before: int, total: int) -> Progress | None:
    """`progress` for one source of several: `before` images are done already."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _joined(parts: Sequence[DecodedImages]) -> DecodedImages:
    """The images of several folders; sums of grey ones count for each channel."""
    counts = [part.shape[0] for part in parts]
    channels = max(part.shape[1] for part in parts)
    return DecodedImages(
        directories=tuple(directory for part in parts for directory in part.directories),
        shape=(sum(counts), channels, *parts[0].shape[2:]),
        checks=np.concatenate([part.checks for part in parts]),
        sums=np.concatenate([np.broadcast_to(part.sums, (len(part.sums), channels)) for part in parts]),
        squares=np.concatenate(
            [np.broadcast_to(part.squares, (len(part.squares), channels)) for part in parts]
        ),
        unreadable={
            first + row: reason
            for part, first in zip(parts, accumulate(counts, initial=0), strict=False)
            for row, reason in part.unreadable.items()
        },
        lasting=all(part.lasting for part in parts),
    )
