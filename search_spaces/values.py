"""Values as they stand in a config: made plain, compared, looked up and set by dotted key."""

import copy
from collections.abc import Hashable, Mapping
from typing import Any

Value = Any
"""A scalar, a list or a mapping, as YAML has them."""


def plain(value: Value) -> Value:
    """`value` in lists, dicts and bare scalars, whatever subclasses a YAML parser or pydantic used.

    Raises:
        ValueError: something that no config file can hold.

    """
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise ValueError(f"{value!r} is not a YAML value")


def identity(value: Value) -> Hashable:
    """Equal for values that mean the same in a config: 1 and 1.0, a list and a tuple; but not 1 and true."""
    if isinstance(value, Mapping):
        return "mapping", frozenset((identity(key), identity(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(identity(item) for item in value)
    if isinstance(value, bool):
        return "bool", value
    if value is None or isinstance(value, int | float | str):
        return value
    raise ValueError(f"{value!r} is not a YAML value")


def is_within(key: str, ancestor: str) -> bool:
    """Whether the dotted `key` is `ancestor` or a part of it."""
    return key == ancestor or key.startswith(ancestor + ".")


def leaf_keys(key: str, value: Value) -> tuple[str, ...]:
    """Dotted keys of the scalars and lists in the value of `key`."""
    if not isinstance(value, Mapping) or not value:
        return (key,)
    return tuple(leaf for name, item in value.items() for leaf in leaf_keys(f"{key}.{name}", item))


def look_up(config: Mapping[str, Value], key: str) -> Value:
    """Find the value at a dotted key of a nested config.

    Raises:
        KeyError: there is none.

    """
    found: Value = config
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise KeyError(key)
        found = found[part]
    return found


def nest(values: Mapping[str, Value], onto: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`, set in a copy of the nested config `onto` if there is one.

    A mapping given for a key replaces the one that stands there; it is never mixed with it, so that a
    proposed `{name: sgd}` inherits nothing from an `adamw` of the file. A key and parts of it may both be
    given: the parts are set in the key's mapping.

    Raises:
        ValueError: a part is set in something that is not a mapping.

    """
    nested = copy.deepcopy(dict(onto or {}))
    for key in sorted(values, key=lambda key: key.count(".")):
        *parents, last = key.split(".")
        place = nested
        for depth, part in enumerate(parents):
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                parent = ".".join(parents[: depth + 1])
                raise ValueError(f"{key} cannot be set: {parent} is {place!r}, not a mapping")
        place[last] = copy.deepcopy(values[key])
    return nested
