"""Turns pydantic's errors into sentences, by reading the published schema next to the values.

pydantic decides what is wrong; its schema says what would be right. `explain` walks both at once, so that a
message names the one meant branch of a union and speaks of keys that stand in the file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.spec.finding import Finding, KeyPath, is_what, quoted
from orchestrator.spec.judge import Judge
from orchestrator.spec.schema_reader import SchemaReader


def explain(model: type[BaseModel], data: Any, error: ValidationError) -> list[Finding]:
    """Every problem of `data` as sentences. Never empty."""
    reader = SchemaReader.of(model)
    by_schema = Judge(reader).findings(reader.root, data, ())
    problems = [(*locate(data, problem["loc"]), problem) for problem in error.errors(include_url=False)]
    result = [
        Finding(path, str(problem["ctx"]["error"]))
        for path, _, problem in problems
        if problem["type"] == "value_error"
    ]
    # The schema cannot say everything that a validator accepts: only what pydantic refuses too is a problem.
    result += [
        f for f in by_schema if any(_matches(f, path, problem["type"]) for path, _, problem in problems)
    ]
    for path, unions, problem in problems:
        explained = any(_on_one_line(path, f.path) for f in result)
        of_another_branch = any(f.path[: len(union)] == union for union in unions for f in result)
        if not explained and not of_another_branch:
            result.append(Finding(path, _plain_sentence(problem["type"], _at(data, path))))
    return list(dict.fromkeys(result))


def _matches(finding: Finding, path: KeyPath, kind: str) -> bool:
    """Whether `finding` speaks of pydantic's problem of this kind at `path`."""
    return (
        finding.path == path if kind in ("missing", "extra_forbidden") else _on_one_line(finding.path, path)
    )


def _on_one_line(path: KeyPath, other: KeyPath) -> bool:
    """Whether one path is, or is part of, the other."""
    return path[: len(other)] == other[: len(path)]


def locate(data: Any, location: Sequence[Any]) -> tuple[KeyPath, list[KeyPath]]:
    """The part of a pydantic location that names keys of `data`, and where it names branches of unions."""
    path: list[Any] = []
    unions: list[KeyPath] = []
    for part in location:
        if (isinstance(data, Mapping) and part in data) or (
            isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        ):
            path.append(part)
            data = data[part]
        elif isinstance(part, str):
            unions.append(tuple(path))
    return tuple(path), unions


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data


def _plain_sentence(kind: str, value: Any) -> str:
    """For what the schema does not say."""
    if kind == "finite_number":
        return f"{quoted(value)} is not a finite number"
    return f"{is_what(value)}; this key needs something else"
