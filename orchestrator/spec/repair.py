"""What an experiment file would be without its wrong values, so that the rest of it can be judged."""

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from orchestrator.spec.explain import explain
from orchestrator.spec.finding import Finding, KeyPath, Schema
from orchestrator.spec.schema_reader import SchemaReader
from orchestrator.spec.sections import ExperimentSpec

ROUNDS = 4
"""A removed value may leave a mapping without a required key, and so on outwards."""


def repair(model: type[ExperimentSpec], data: Any, findings: Iterable[Finding]) -> ExperimentSpec | None:
    """A valid spec from `data` with the values that `findings` speak of left out, or None.

    Required keys get some allowed value. The result serves only to look for further problems.
    """
    reader = SchemaReader.of(model)
    data = copy.deepcopy(data)
    for _ in range(ROUNDS):
        for finding in sorted(findings, key=lambda finding: len(finding.path), reverse=True):
            if finding.missing is not None:
                _set_placeholder(reader, data, finding.path, finding.missing)
            else:
                _remove(data, finding.path)
        try:
            return model.model_validate(data)
        except ValidationError as error:
            findings = explain(model, data, error)
    return None


def _remove(data: Any, path: KeyPath) -> None:
    """Take out the value at `path`, if it is there."""
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict) and path:
        data.pop(path[-1], None)
    elif isinstance(data, list) and isinstance(path[-1], int) and path[-1] < len(data):
        del data[path[-1]]


def _set_placeholder(reader: SchemaReader, data: Any, path: KeyPath, key: tuple[str, Schema]) -> None:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict):
        data.setdefault(key[0], _placeholder(reader, key[1]))


def _placeholder(reader: SchemaReader, schema: Schema) -> Any:
    """Something that `schema` allows."""
    schema = reader.branches(schema)[0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "array":
            return [_placeholder(reader, item) for item in schema.get("prefixItems", ())]
        case "object":
            required = schema.get("required", ())
            return {key: _placeholder(reader, schema["properties"][key]) for key in required}
    return "placeholder"
