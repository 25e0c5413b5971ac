"""Turns pydantic's errors into sentences, by reading the published schema next to the values.

pydantic decides what is wrong; its schema says what would be right. `explain` walks both at once, so that a
message names the one meant branch of a union and speaks of keys that stand in the file.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

KeyPath = tuple[Any, ...]
"""Keys and list positions from the top of the file."""
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something wrong with the value (or, `at_key`, with the key) at `path`."""

    path: KeyPath
    message: str
    at_key: bool = False

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
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def one_of(options: Iterable[Any], last: str = "or", limit: int = 30) -> str:
    """`a, b or c`."""
    names = [str(option) for option in options]
    if len(names) > limit:
        names = [*names[:limit], f"{len(names) - limit} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def explain(model: type[BaseModel], data: Any, error: ValidationError) -> list[Finding]:
    """Every problem of `data` as sentences. Never empty."""
    reader = SchemaReader.of(model)
    found = reader.findings(reader.root, data, ())
    result: list[Finding] = []
    for problem in error.errors(include_url=False):
        path = data_path(data, problem["loc"])
        if problem["type"] == "value_error":
            result.append(Finding(path, str(problem["ctx"]["error"])))
            continue
        mine = [f for f in found if f.path[: len(path)] == path or path[: len(f.path)] == f.path]
        result.extend(mine or [Finding(path, _plain_sentence(problem["type"], _at(data, path)))])
    if any(f in found for f in result):  # of a union, pydantic also reports the branches that were not meant
        meant = {f.path[:length] for f in found for length in range(len(f.path) + 1)}
        result = [f for f in result if f in found or f.path in meant or not _below_any(f.path, found)]
        result = [f for f in result if f in found or "needs something else" not in f.message]
    return list(dict.fromkeys(result))


def data_path(data: Any, location: Sequence[Any]) -> KeyPath:
    """The part of a pydantic location that names keys of `data`; names of union branches are left out."""
    path: list[Any] = []
    for part in location:
        if (isinstance(data, Mapping) and part in data) or (
            isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        ):
            path.append(part)
            data = data[part]
    return tuple(path)


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data


def _below_any(path: KeyPath, findings: Iterable[Finding]) -> bool:
    return any(path[: len(f.path)] == f.path or f.path[: len(path)] == path for f in findings)


def _plain_sentence(kind: str, value: Any) -> str:
    """For what the schema does not say."""
    if kind == "finite_number":
        return f"{quoted(value)} is not a finite number"
    return f"{is_what(value)}; this key needs something else"


def is_what(value: Any) -> str:
    """`"20" is text`, `[1, 2] is a list`, `empty`."""
    match value:
        case None:
            return "is empty"
        case bool():
            return f"{quoted(value)} is true/false"
        case str():
            return f"{quoted(value)} is text"
        case int():
            return f"{quoted(value)} is a whole number"
        case float():
            return f"{quoted(value)} is a number" if math.isfinite(value) else f"{value} is not finite"
        case list() | tuple():
            return f"{quoted(value)} is a list"
        case dict():
            return f"{quoted(value)} is a mapping"
    return f"{value!r} is of no known kind"


class SchemaReader:
    """Reads the JSON Schema of a pydantic model: what is allowed where, in words."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.definitions: Mapping[str, Schema] = root.get("$defs", {})

    @staticmethod
    @cache
    def of(model: type[BaseModel]) -> "SchemaReader":
        """The reader of `model`'s schema, made once."""
        return SchemaReader(model.model_json_schema())

    def resolve(self, schema: Schema) -> Schema:
        """Follow `$ref`."""
        while "$ref" in schema:
            schema = {
                **self.definitions[schema["$ref"].rpartition("/")[2]],
                **{k: v for k, v in schema.items() if k in ("default", "description")},
            }
        return schema

    def branches(self, schema: Schema) -> list[Schema]:
        """The alternatives of a union, nested ones included; one for anything else."""
        schema = self.resolve(schema)
        for kind in ("anyOf", "oneOf"):
            if kind in schema:
                return [branch for option in schema[kind] for branch in self.branches(option)]
        if isinstance(schema.get("type"), list):
            return [{**schema, "type": kind} for kind in schema["type"]]
        return [schema]

    # What is wrong

    def findings(self, schema: Schema, value: Any, path: KeyPath) -> list[Finding]:
        """What is wrong with `value`, judged by `schema`."""
        branches = self.branches(schema)
        if len(branches) == 1:
            return self._single(branches[0], value, path)
        if value is None and any(branch.get("type") == "null" for branch in branches):
            return []
        branches = [branch for branch in branches if branch.get("type") != "null"]
        if isinstance(value, dict):
            mappings = [branch for branch in branches if branch.get("type") == "object"]
            if mappings:
                return self._mapping_union(mappings, value, path)
        elif isinstance(value, list | tuple):
            lists = [branch for branch in branches if branch.get("type") == "array"]
            if lists:
                tried = [self._single(branch, value, path) for branch in lists]
                best = min(
                    tried, key=lambda found: (len(found), -max((len(f.path) for f in found), default=0))
                )
                if len(branches) == 1 or all(f.path != path for f in best):
                    return best
        elif any(not self._single(branch, value, path) for branch in branches):
            return []
        return [self._unfit(schema, value, path)]

    def _single(self, schema: Schema, value: Any, path: KeyPath) -> list[Finding]:
        kind = schema.get("type")
        if kind == "object":
            return self._mapping(schema, value, path)
        if kind == "array":
            return self._list(schema, value, path)
        return [] if self._fits(schema, value) else [self._unfit(schema, value, path)]

    def _fits(self, schema: Schema, value: Any) -> bool:
        """Whether a scalar fits a scalar schema."""
        if "const" in schema:
            return _same(value, schema["const"])
        if "enum" in schema:
            return any(_same(value, option) for option in schema["enum"])
        match schema.get("type"):
            case "string":
                return (
                    isinstance(value, str)
                    and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
                    and re.search(schema.get("pattern", ""), value) is not None
                )
            case "integer" | "number" as kind:
                allowed = (int,) if kind == "integer" else (int, float)
                if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value):
                    return False
                return (
                    value >= schema.get("minimum", -math.inf)
                    and value <= schema.get("maximum", math.inf)
                    and value > schema.get("exclusiveMinimum", -math.inf)
                    and value < schema.get("exclusiveMaximum", math.inf)
                )
            case "boolean":
                return isinstance(value, bool)
            case "null":
                return value is None
        return True

    def _unfit(self, schema: Schema, value: Any, path: KeyPath) -> Finding:
        """`"20" is text; a whole number ≥ 1 is needed. Write 20 without quotes.`"""
        options = self._words(schema)
        scalar = [branch for branch in self.branches(schema) if branch.get("type") != "null"]
        if options and isinstance(value, str) and all("enum" in b or "const" in b for b in scalar):
            near = nearest(value, options)
            return Finding(path, f"{quoted(value)} is not known; {one_of(options)} is needed."
                           + (f" Did you mean {near}?" if near else ""))  # fmt: skip
        hint = ""
        kinds = {branch.get("type") for branch in scalar}
        if isinstance(value, str):
            number = _as_number(value)
            if number is not None and any(self._fits(branch, number) for branch in scalar):
                hint = f" Write {value.strip()} without quotes."
            elif value.lower() in ("yes", "no", "on", "off", "true", "false") and "boolean" in kinds:
                hint = f" Write {'true' if value.lower() in ('yes', 'on', 'true') else 'false'}."
            elif options and (near := nearest(value, options)):
                hint = f" Did you mean {near}?"
        elif isinstance(value, bool | int | float) and "string" in kinds and not self._numeric(kinds):
            hint = f' Write "{quoted(value)}" with quotes.'
        elif isinstance(value, float) and value.is_integer() and "integer" in kinds:
            hint = f" Write {int(value)}."
        elif (
            "array" in kinds
            and not isinstance(value, list | dict)
            and value is not None
            and self._lists(scalar, value)
        ):
            hint = f" Write [{quoted(value)}]."
        return Finding(path, f"{is_what(value)}; {self.describe(schema)} is needed.{hint}")

    @staticmethod
    def _numeric(kinds: Iterable[Any]) -> bool:
        return bool({"integer", "number"} & set(kinds))

    def _lists(self, branches: Iterable[Schema], value: Any) -> bool:
        return any(
            not self.findings(b["items"], value, ()) for b in branches if isinstance(b.get("items"), dict)
        )

    def _words(self, schema: Schema) -> list[str]:
        """The fixed words that `schema` allows."""
        words: list[str] = []
        for branch in self.branches(schema):
            words += [str(option) for option in branch.get("enum", ())]
            words += [str(branch["const"])] if "const" in branch else []
        return words

    def _mapping(
        self, schema: Schema, value: Any, path: KeyPath, others: Sequence[Schema] = ()
    ) -> list[Finding]:
        if not isinstance(value, dict):
            return [Finding(path, f"{is_what(value)}; {self.describe(schema)} is needed.")]
        properties: Mapping[str, Schema] = schema.get("properties", {})
        further = schema.get("additionalProperties", True)
        result: list[Finding] = []
        for key, inner in value.items():
            inner_path = (*path, key)
            if key in properties:
                result += self.findings(properties[key], inner, inner_path)
            elif further is False:
                result.append(
                    Finding(inner_path, self._unknown_key(key, properties, others, path), at_key=True)
                )
            else:
                result += self._free_key(schema, key, inner_path)
                if isinstance(further, dict):
                    result += self.findings(further, inner, inner_path)
        for key in schema.get("required", ()):
            if key not in value:
                need = self.describe(properties[key]) if key in properties else "a value"
                result.append(Finding(path, f"the key {key} is missing ({need})", at_key=True))
        return result

    def _free_key(self, schema: Schema, key: Any, path: KeyPath) -> list[Finding]:
        """What is wrong with a key that the user chooses."""
        names = self.resolve(schema.get("propertyNames", {}))
        if not isinstance(key, str):
            return [
                Finding(
                    path,
                    f'the key {quoted(key)} must be text. Write "{quoted(key)}" with quotes.',
                    at_key=True,
                )
            ]
        if self._fits({"type": "string", **names}, key):
            return []
        return [
            Finding(
                path,
                f"{quoted(key)} cannot be a name here; {self.describe({'type': 'string', **names})} is needed",
                at_key=True,
            )
        ]

    def _unknown_key(
        self, key: Any, properties: Mapping[str, Schema], others: Sequence[Schema], path: KeyPath
    ) -> str:
        known = list(properties)
        near = nearest(str(key), known)
        elsewhere = [self._tag(other) for other in others if key in other.get("properties", {})]
        if near:
            help_ = f"Did you mean {near}?"
        elif elsewhere:
            help_ = f"It is a key of {one_of(t[1] if t else '?' for t in elsewhere)}."
        elif moved := [p for p in self._paths_ending(str(key)) if p != dotted((*path, key))]:
            help_ = f"Did you mean {one_of(moved[:3])}?"
        else:
            help_ = ""
        return f"unknown key. {help_} Known here: {', '.join(known) or 'none'}.".replace(".  ", ". ")

    def _paths_ending(self, name: str) -> list[str]:
        return [path for path in self.known_paths() if path.rpartition(".")[2] == name]

    def _mapping_union(
        self, branches: Sequence[Schema], value: dict[Any, Any], path: KeyPath
    ) -> list[Finding]:
        """Judge a mapping by the branch that was meant: by its tag, else by its keys."""
        tags = [tag for branch in branches if (tag := self._tag(branch))]
        if tags:
            name = tags[0][0]
            words = [word for _, word in tags]
            open_branches = [branch for branch in branches if not self._tag(branch)]
            if name not in value:
                if not open_branches:
                    return [
                        Finding(path, f"the key {name} is missing: {one_of(words)} is needed", at_key=True)
                    ]
            else:
                fitting = [
                    b for b in branches if (t := self._tag(b)) and _same(value[name], t[1])
                ] or open_branches
                if not fitting:
                    near = nearest(str(value[name]), words)
                    return [Finding((*path, name), f"{quoted(value[name])} is not known; {one_of(words)} is needed."
                                    + (f" Did you mean {near}?" if near else ""))]  # fmt: skip
                return self._mapping(fitting[0], value, path, [b for b in branches if b is not fitting[0]])
        tried = [(self._keys_known(branch, value), self._mapping(branch, value, path)) for branch in branches]
        return [] if any(not found for _, found in tried) else max(tried, key=lambda t: (t[0], -len(t[1])))[1]

    @staticmethod
    def _keys_known(schema: Schema, value: Mapping[Any, Any]) -> int:
        properties = schema.get("properties", {})
        return sum(1 if key in properties or nearest(str(key), properties) else -1 for key in value)

    def _tag(self, schema: Schema) -> tuple[str, str] | None:
        """The key whose one possible value tells this branch from the others."""
        for key, inner in schema.get("properties", {}).items():
            if isinstance(self.resolve(inner).get("const"), str):
                return key, self.resolve(inner)["const"]
        return None

    def _list(self, schema: Schema, value: Any, path: KeyPath) -> list[Finding]:
        if not isinstance(value, list | tuple):
            return [self._unfit(schema, value, path)]
        fixed = schema.get("prefixItems", ())
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return [
                Finding(path, f"{quoted(value)} has {len(value)} items; {self.describe(schema)} is needed.")
            ]
        result: list[Finding] = []
        for index, inner in enumerate(value):
            item = fixed[index] if index < len(fixed) else schema.get("items", {})
            result += self.findings(item, inner, (*path, index))
        return result

    # What is allowed

    def describe(self, schema: Schema) -> str:
        """What `schema` allows, in words."""
        branches = self.branches(schema)
        if len(branches) > 1:
            return self._describe_union([branch for branch in branches if branch.get("type") != "null"])
        schema = branches[0]
        if "const" in schema:
            return str(schema["const"])
        if "enum" in schema:
            return one_of(schema["enum"])
        match schema.get("type"):
            case "integer":
                return "a whole number" + _bounds(schema)
            case "number":
                return "a number" + _bounds(schema)
            case "boolean":
                return "true or false"
            case "string":
                return _describe_text(schema)
            case "array":
                return self._describe_list(schema)
            case "object":
                return self._describe_mapping(schema)
        return "any value"

    def _describe_union(self, branches: Sequence[Schema]) -> str:
        words = self._words({"anyOf": branches})
        tags = [tag[1] for branch in branches if (tag := self._tag(branch))]
        parts = words[:]
        if {b.get("type") for b in branches} >= {"string", "integer", "number", "boolean"}:
            return "text, a number or true/false"
        if tags:
            key = next(tag[0] for branch in branches if (tag := self._tag(branch)))
            parts.append(f"a mapping whose {key} is {one_of(tags)}")
        for branch in branches:
            if "enum" not in branch and "const" not in branch and not self._tag(branch):
                parts.append(self.describe(branch))
        return one_of(dict.fromkeys(parts))

    def _describe_list(self, schema: Schema) -> str:
        fixed = schema.get("prefixItems")
        if fixed:
            return f"[{', '.join(self.describe(item) for item in fixed)}]"
        inner = self.describe(schema.get("items", {})).removeprefix("a ")
        least = f" (at least {schema['minItems']})" if schema.get("minItems") else ""
        return f"a list of {inner}{least}" if inner != "any value" else f"a list{least}"

    def _describe_mapping(self, schema: Schema) -> str:
        if schema.get("properties"):
            return f"a mapping with the keys {one_of(schema['properties'], 'and')}"
        inner = schema.get("additionalProperties")
        return f"a mapping of names to {self.describe(inner)}" if isinstance(inner, dict) else "a mapping"

    # Which keys there are

    @cache  # noqa: B019 - readers are made once per model
    def known_paths(self) -> tuple[str, ...]:
        """Every dotted key; `<name>` stands where the user chooses one."""
        return tuple(dict.fromkeys(self._walk(self.root, "", ())))

    def _walk(self, schema: Schema, prefix: str, seen: tuple[str, ...]) -> Iterable[str]:
        for branch in self.branches(schema):
            if branch.get("type") != "object":
                continue
            for key, inner in branch.get("properties", {}).items():
                yield prefix + key
                yield from self._walk(inner, f"{prefix}{key}.", seen)
            further = branch.get("additionalProperties")
            if isinstance(further, dict):
                yield from self._walk(further, f"{prefix}<name>.", seen)


def _same(value: Any, option: Any) -> bool:
    return type(value) is type(option) and value == option


def _as_number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None


def _bounds(schema: Schema) -> str:
    """` ≥ 1`, ` between 0 and 1`, ` > 0 and < 1`."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" between {low:g} and {high:g}"
    parts = [
        f"{sign} {schema[key]:g}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return " " + " and ".join(parts) if parts else ""


PATTERNS = {
    r"^[A-Za-z][A-Za-z0-9_]*$": "a name of letters, digits and _ that begins with a letter",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "a name of letters, digits, dots, - and _",
    r"^(score|[A-Za-z][A-Za-z0-9_]*\.[a-z0-9_]+)$": "score, <task>.<metric> or <task>.loss",
}
"""What a pattern means, in words."""


def _describe_text(schema: Schema) -> str:
    if "pattern" in schema:
        words = PATTERNS.get(schema["pattern"], f"text like {schema['pattern']}")
        return words + (f" (at most {schema['maxLength']})" if "maxLength" in schema else "")
    return "text" + (" (not empty)" if schema.get("minLength") else "")
