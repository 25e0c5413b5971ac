"""How numbers, times and searched values are written for people."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def duration(seconds: float) -> str:
    """`3.2 s`, `1:05` (minutes) or `2:00:09` (hours)."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def rough(seconds: float) -> str:
    """A time that is only an estimate: whole seconds."""
    return f"{seconds:.0f} s" if seconds < 59.5 else duration(seconds)


def span(low: float, high: float) -> str:
    """A range of times: `5 to 10 s`, `50 s to 1:10`."""
    return f"{low:.0f} to {high:.0f} s" if high < 59.5 else f"{rough(low)} to {rough(high)}"


def metric(value: float | None) -> str:
    """Four decimals, or scientific where they would hide the value."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def value(searched: Any) -> str:
    """A searched value, briefly: floats to three digits, lists joined by `-`."""
    if isinstance(searched, bool) or searched is None:
        return {True: "yes", False: "no", None: "none"}[searched]
    if isinstance(searched, float):
        return f"{searched:.3g}"
    if isinstance(searched, list | tuple):
        return "-".join(map(value, searched)) or "none"
    return str(searched)


def column_of(key: str) -> list[str]:
    """What a dotted key is about, segment by segment: `model.sharing.kind` is the sharing."""
    segments = key.split(".")
    if segments[-1] not in ("kind", "name"):
        return segments
    if segments[-2:-1] == ["default"]:
        return segments[:-2]  # model.heads.default.kind: the heads
    return segments if segments[-3:-2] == ["heads"] else segments[:-1]


def weight_groups(keys: Iterable[str]) -> dict[str, list[str]]:
    """Columns of dotted keys under short headers; the members of a simplex of weights share one.

    `model.backbone.width` becomes `width`; where two keys end alike, both keep one more segment.
    """
    groups: dict[str, list[str]] = {}
    for key in keys:
        parent = key.rpartition(".")[0]
        groups.setdefault(parent if parent.endswith("weights") else key, []).append(key)
    columns = {name: column_of(name) for name in groups}
    headers: dict[str, list[str]] = {}
    for name, members in groups.items():
        segments = columns[name]
        length = 1
        while length < len(segments) and any(
            other != name and columns[other][-length:] == segments[-length:] for other in groups
        ):
            length += 1
        header = ".".join(segments[-length:])
        if len(members) > 1:
            header += " " + ":".join(member.rpartition(".")[2] for member in members)
        headers[header] = members
    return headers


def group_value(config: Mapping[str, Any], keys: list[str]) -> str:
    """The values of one column of `weight_groups`; empty where a trial has none."""
    if len(keys) == 1:
        return value(config[keys[0]]) if keys[0] in config else ""
    shares = [config.get(key) for key in keys]
    return ":".join(f"{share:.2f}" if isinstance(share, float) else value(share) for share in shares)


def brief(config: Mapping[str, Any]) -> str:
    """A trial's searched values on one line: `width 32, lr 0.00314, weights left:right 0.30:0.70`."""
    return ", ".join(
        f"{header} {group_value(config, keys)}" for header, keys in weight_groups(config).items()
    )


def shortened(text: str, length: int) -> str:
    """At most `length` characters, with an ellipsis where some are missing."""
    return text if len(text) <= length else text[: length - 1] + "…"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
