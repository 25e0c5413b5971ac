"""Whether an epoch that was run again is the one that was recorded."""

from collections.abc import Mapping
from typing import Any

OF_THE_CLOCK = ("images_per_second",)
"""What a report says of an epoch that is not the same when it is repeated."""


def differing(recorded: Mapping[str, Any], repeated: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two reports of one epoch say differently, by name: the recorded value and the repeated one.

    Both are `EpochReport`s as dictionaries. Equal means equal bits; NaN is equal to NaN.
    """
    return {
        name: (value, repeated[part].get(name))
        for part in ("metrics", "training")
        for name, value in recorded[part].items()
        if name not in OF_THE_CLOCK and not _same(value, repeated[part].get(name))
    }


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))
