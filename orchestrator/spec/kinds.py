"""Sections of several kinds: what a file says of one kind means nothing to another that a search chooses."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from search_spaces.values import Value


def without_other_kinds(
    model: type[BaseModel], written: Mapping[str, Any], values: Mapping[str, Value]
) -> dict[str, Any]:
    """`written` without what the kinds chosen by `values` do not know.

    `{"balancing.method": "cagrad"}` leaves out the `balancing.weights` of a file whose method is static, and
    `{"model.sharing.kind": "mmoe"}` the `at` of one that branches by task. What both kinds know stays.
    """
    result = copy.deepcopy(dict(written))
    for key, chosen in values.items():
        *parents, tag = key.split(".")
        section: Any = result
        annotation: Any = model
        for part in parents:
            section = section.get(part) if isinstance(section, dict) else None
            annotation = _annotation_of(annotation, part)
        if not isinstance(section, dict) or section.get(tag) == chosen:
            continue
        for kind in _kinds(annotation):
            field = kind.model_fields.get(tag)
            if field is not None and get_args(field.annotation) == (chosen,):
                for name in section.keys() - {tag}:
                    if not _knows(kind, {tag: chosen, name: section[name]}, name):
                        del section[name]
    return result


def _knows(kind: type[BaseModel], section: dict[str, Any], name: str) -> bool:
    """Whether `kind` has the key `name`, and takes the value that it has in `section`."""
    try:
        kind.model_validate(section)
    except ValidationError as error:
        return all(found["loc"][:1] != (name,) for found in error.errors())
    return True


def _kinds(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not dict:
        for argument in get_args(annotation):
            yield from _kinds(argument)


def _annotation_of(annotation: Any, name: str) -> Any:
    """What stands at `name` in something annotated so; None if that is unknown."""
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    for kind in _kinds(annotation):
        if name in kind.model_fields:
            return kind.model_fields[name].annotation
    return None
