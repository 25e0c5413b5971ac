"""Overrides, `-s key=value`: they change an experiment file before it is judged."""

from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.spec.document import Document, Place, read_document
from orchestrator.spec.finding import KeyPath, dotted, nearest, quoted
from orchestrator.spec.schema_reader import SchemaReader
from orchestrator.spec.sections import ExperimentSpec


def apply_override(document: Document, override: str) -> None:
    """Set (or, with null, remove) one key of `document`. Raises `ConfigError` if it is not `key=value`."""
    place = Place(0, 0, override)
    key, equals, text = override.partition("=")
    segments = key.strip().split(".")
    if not equals or not all(segments):
        raise ConfigError(f"-s {override}: an override is written key=value, e.g. -s training.epochs=3")
    value = _override_value(text, document, place)
    container: Any = document.data
    path: KeyPath = ()
    while True:
        step, segments = _step(container, path, segments)
        if isinstance(container, list) and not (isinstance(step, int) and step < len(container)):
            raise ConfigError(f"-s {override}: {dotted(path)} is a list of {len(container)}: "
                              f"name an item by its number, from 0")  # fmt: skip
        path = (*path, step)
        if not segments:
            break
        inner = container.get(step) if isinstance(container, dict) else container[step]
        if inner is None and value is None:
            _require_known((*path, *segments), container, path, document, override)
            return  # nothing is made on the way: an empty section may mean something
        if inner is None:
            inner = {}
        if isinstance(inner, str):
            inner = {_tag_name(path): inner}
        if not isinstance(inner, dict | list):
            raise ConfigError(f"-s {override}: {dotted(path)} is {quoted(inner)}, which has no keys")
        container[step] = inner
        document.values.setdefault(path, place)
        container = inner
    for places in (document.values, document.keys):
        for known in [known for known in places if known[: len(path)] == path]:
            del places[known]
    if value is not None:
        container[path[-1]] = value
        document.values[path] = document.keys[path] = place
    elif isinstance(container, list) or path[-1] in container:
        del container[path[-1]]
    else:
        _require_known(path, container, path, document, override)


def _require_known(key: KeyPath, container: Any, path: KeyPath, document: Document, override: str) -> None:
    """Raise `ConfigError` if `key`, which the file does not set, could not be set either.

    `path` is as much of it as leads to what `container` lacks. Of names that the user chooses, those of tasks
    are known.
    """
    tasks = document.data.get("tasks")
    names = {"default", *(tasks if isinstance(tasks, dict) else ())}
    if any(
        len(known) == len(key)
        and all(k == part or (k == "<name>" and part in names) for k, part in zip(known, key, strict=True))
        for known in (text.split(".") for text in SchemaReader.of(ExperimentSpec).known_paths())
    ):
        return
    near = nearest(str(path[-1]), [str(known) for known in container])
    raise ConfigError(f"-s {override}: {dotted(key)} is not in {document.name}, so it cannot be removed"
                      + (f". Did you mean {dotted((*path[:-1], near))}?" if near else ""))  # fmt: skip


def _override_value(text: str, document: Document, place: Place) -> Any:
    """The value of an override, read as YAML."""
    try:
        inner = read_document(f"value: {text}" if text.strip() else "value: ''", document.name)
    except ConfigError:
        raise ConfigError(
            f"-s {place.override}: {quoted(text)} cannot be read as a YAML value; quote it?"
        ) from None
    if inner.findings or set(inner.data) != {"value"}:
        raise ConfigError(f"-s {place.override}: {quoted(text)} is not one plain YAML value")
    return inner.data["value"]


def _step(container: Any, path: KeyPath, segments: list[str]) -> tuple[Any, list[str]]:
    """The next key below `container` and the segments that remain; keys may contain dots (`search.space`)."""
    if isinstance(container, list):
        return (int(segments[0]) if segments[0].isdecimal() else segments[0]), segments[1:]
    by_text = {str(key): key for key in container}
    for length in range(len(segments), 0, -1):
        joined = ".".join(segments[:length])
        if joined in by_text:
            return by_text[joined], segments[length:]
    if path == ("search", "space"):
        return ".".join(segments), []
    return segments[0], segments[1:]


def _tag_name(path: KeyPath) -> str:
    """The key that text in place of a section stands for."""
    return "method" if path == ("balancing",) else "name"
