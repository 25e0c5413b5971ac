"""What is wrong somewhere in an experiment file, and how paths and values are written in messages."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

KeyPath = tuple[Any, ...]
"""Keys and list positions from the top of the file."""
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something wrong with the value (or, `at_key`, with the key) at `path`."""

    path: KeyPath
    message: str
    at_key: bool = False
    missing: tuple[str, Schema] | None = field(default=None, compare=False)
    """The required key that is not there, and what it may hold."""

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


def dotted(path: Iterable[Any]) -> str:
    """`training.optimizer.lr`, `data.augment[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) and not isinstance(part, bool) else f".{part}"
    return text.removeprefix(".")


def quoted(value: Any) -> str:
    """`value` as it would stand in a YAML file, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The most similar of `known`, if one is similar enough to be meant."""
    by_lower = {option.lower(): option for option in known}
    begun = [option for lower, option in by_lower.items() if len(word) > 1 and lower.startswith(word.lower())]
    if len(begun) == 1:
        return begun[0]
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def one_of(options: Iterable[Any], last: str = "or", limit: int = 30) -> str:
    """`a, b or c`."""
    names = [str(option) for option in options]
    if len(names) > limit:
        names = [*names[:limit], f"{len(names) - limit} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def is_what(value: Any) -> str:
    """`"20" is text`, `[1, 2] is a list`, `empty`."""
    match value:
        case None:
            return "is empty"
        case bool():
            return f"{quoted(value)} is true/false"
        case str():
            return f"{quoted(value)} is text" if value else '"" is empty text'
        case int():
            return f"{quoted(value)} is a whole number"
        case float():
            return f"{quoted(value)} is a number" if math.isfinite(value) else f"{value} is not finite"
        case list() | tuple():
            return f"{quoted(value)} is a list"
        case dict():
            return f"{quoted(value)} is a mapping"
    return f"{value!r} is of no known kind"
