"""Turns pydantic's errors into sentences, by reading the published schema next to the values.

pydantic decides what is wrong; its schema says what would be right. `explain` walks both at once, so that a
message names the one meant branch of a union and speaks of keys that stand in the file.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


def explain(model: type[BaseModel], data: Any, error: ValidationError) -> list[Finding]:
    """Every problem of `data` as sentences. Never empty."""
    reader = SchemaReader.of(model)
    by_schema = reader.findings(reader.root, data, ())
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
                return self._mapping_union(mappings, value, path, self.resolve(schema).get("default"))
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
                inside = schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
                above = value > schema.get("exclusiveMinimum", -math.inf)
                return bool(inside and above and value < schema.get("exclusiveMaximum", math.inf))
            case "boolean":
                return isinstance(value, bool)
            case "null":
                return value is None
        return True

    def _unfit(self, schema: Schema, value: Any, path: KeyPath) -> Finding:
        """Say what `value` is, what is needed, and what was probably meant."""
        options = self._words(schema)
        scalar = [branch for branch in self.branches(schema) if branch.get("type") != "null"]
        if options and isinstance(value, str) and all("enum" in b or "const" in b for b in scalar):
            near = nearest(value, options)
            return Finding(path, f"{quoted(value)} is not known; {one_of(options)} is needed."
                           + (f" Did you mean {near}?" if near else ""))  # fmt: skip
        hint = ""
        what = is_what(value)
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
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and self._numeric(kinds)
            and not hint
        ):
            # a number of the wrong size
            what = f"{quoted(value)} is not allowed" if math.isfinite(value) else "it must be finite"
        return Finding(path, f"{what}; {self.describe(schema)} is needed.{hint}")

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
        names, further = self.free_keys(schema)
        result: list[Finding] = []
        for key, inner in value.items():
            inner_path = (*path, key)
            if key in properties:
                result += self.findings(properties[key], inner, inner_path)
            elif further is None:
                result.append(
                    Finding(inner_path, self._unknown_key(key, properties, others, path), at_key=True)
                )
            else:
                result += self._free_key(names, key, inner_path)
                result += self.findings(further, inner, inner_path)
        meant = {nearest(str(key), properties) for key in value if key not in properties}
        for key in schema.get("required", ()):
            if key not in value and key not in meant:
                need = self.describe(properties[key]) if key in properties else "a value"
                need = "" if need.startswith("a mapping") else f" ({need})"
                message = f"the key {key} is missing{need}"
                result.append(Finding(path, message, at_key=True, missing=(key, properties.get(key, {}))))
        return result

    def free_keys(self, schema: Schema) -> tuple[Schema, Schema | None]:
        """What keys the user may choose and what they may hold; None where the keys are given."""
        for pattern, inner in schema.get("patternProperties", {}).items():
            return {"type": "string", "pattern": pattern}, inner
        further = schema.get("additionalProperties", {})
        if further is False:
            return {}, None
        return {"type": "string", **schema.get("propertyNames", {})}, {} if further is True else further

    def _free_key(self, names: Schema, key: Any, path: KeyPath) -> list[Finding]:
        """What is wrong with a key that the user chooses."""
        if not isinstance(key, str):
            message = f'the key {quoted(key)} must be text. Write "{quoted(key)}" with quotes.'
        elif not self._fits(names, key):
            message = f"{quoted(key)} cannot be a name here; {self.describe(names)} is needed"
        else:
            return []
        return [Finding(path, message, at_key=True)]

    def _unknown_key(
        self, key: Any, properties: Mapping[str, Schema], others: Sequence[Schema], path: KeyPath
    ) -> str:
        known = list(properties)
        near = nearest(str(key), known)
        elsewhere = [t for other in others if key in other.get("properties", {}) and (t := self._tag(other))]
        meant: list[str] = []
        if near:
            meant = [f"Did you mean {near}?"]
        elif elsewhere:
            meant = [f"It is a key of {one_of(tag[1] for tag in elsewhere)}."]
        elif moved := [path_ for path_ in self._paths_ending(str(key)) if path_ != dotted((*path, key))]:
            meant = [f"Did you mean {one_of(moved[:3])}?"]
        known.sort(key=lambda option: option != "name")
        return " ".join(["unknown key.", *meant, f"Known here: {', '.join(known) or 'none'}."])

    def _paths_ending(self, name: str) -> list[str]:
        return [path for path in self.known_paths() if path.rpartition(".")[2] == name]

    def _mapping_union(
        self, branches: Sequence[Schema], value: dict[Any, Any], path: KeyPath, default: Any
    ) -> list[Finding]:
        """Judge a mapping by the branch that was meant: by its tag, else by its keys."""
        tags = [tag for branch in branches if (tag := self._tag(branch))]
        if tags:
            name = tags[0][0]
            words = [word for _, word in tags]
            open_branches = [branch for branch in branches if not self._tag(branch)]
            if name not in value and isinstance(default, dict) and name in default:
                value = {name: default[name], **value}
            if name not in value:
                if not open_branches:
                    message = f"the key {name} is missing: {one_of(words)} is needed"
                    return [Finding(path, message, at_key=True, missing=(name, {"enum": words}))]
            else:
                fitting = [
                    b for b in branches if (t := self._tag(b)) and _same(value[name], t[1])
                ] or open_branches
                if not fitting:
                    near = nearest(str(value[name]), words)
                    meant = f" Did you mean {near}?" if near else ""
                    message = f"{quoted(value[name])} is not known; {one_of(words)} is needed.{meant}"
                    return [Finding((*path, name), message)]
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
        kinds = {branch.get("type") for branch in branches}
        for branch in branches:
            if branch.get("type") == "integer" and "number" in kinds:
                continue
            if "enum" not in branch and "const" not in branch and not self._tag(branch):
                parts.append(self.describe(branch))
        return one_of(dict.fromkeys(parts))

    def _describe_list(self, schema: Schema) -> str:
        fixed = schema.get("prefixItems")
        if fixed:
            return f"[{', '.join(self.describe(item) for item in fixed)}]"
        least = f" of at least {schema['minItems']}" if schema.get("minItems") else ""
        inner = self.describe(schema.get("items", {}))
        return f"a list{least}" if inner == "any value" else f"a list{least} (items: {inner})"

    def _describe_mapping(self, schema: Schema) -> str:
        if schema.get("properties"):
            return f"a mapping with the keys {one_of(schema['properties'], 'and')}"
        inner = self.free_keys(schema)[1]
        return f"a mapping of names to {self.describe(inner)}" if inner else "a mapping"

    # Which keys there are

    @cache  # noqa: B019 - readers are made once per model
    def known_paths(self) -> tuple[str, ...]:
        """Every dotted key; `<name>` stands where the user chooses one."""
        return tuple(dict.fromkeys(self._walk(self.root, "")))

    def knows(self, key: str) -> bool:
        """Whether `key` is a dotted key, with any name where the user chooses one."""
        parts = key.split(".")
        return any(
            len(parts) == len(known)
            and all(k in (part, "<name>") for part, k in zip(parts, known, strict=True))
            for known in (path.split(".") for path in self.known_paths())
        )

    def _walk(self, schema: Schema, prefix: str) -> Iterable[str]:
        for branch in self.branches(schema):
            if branch.get("type") != "object":
                continue
            for key, inner in branch.get("properties", {}).items():
                yield prefix + key
                yield from self._walk(inner, f"{prefix}{key}.")
            if further := self.free_keys(branch)[1]:
                yield f"{prefix}<name>"
                yield from self._walk(further, f"{prefix}<name>.")


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
    return "text"
