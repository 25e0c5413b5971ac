"""What a pydantic model allows where, in words: its published JSON Schema, read."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from pydantic import BaseModel

from orchestrator.spec.finding import Schema, one_of


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

    def free_keys(self, schema: Schema) -> tuple[Schema, Schema | None]:
        """What keys the user may choose and what they may hold; None where the keys are given."""
        for pattern, inner in schema.get("patternProperties", {}).items():
            return {"type": "string", "pattern": pattern}, inner
        further = schema.get("additionalProperties", {})
        if further is False:
            return {}, None
        return {"type": "string", **schema.get("propertyNames", {})}, {} if further is True else further

    def tag(self, schema: Schema) -> tuple[str, str] | None:
        """The key whose one possible value tells this branch from the others."""
        for key, inner in schema.get("properties", {}).items():
            if isinstance(self.resolve(inner).get("const"), str):
                return key, self.resolve(inner)["const"]
        return None

    def words(self, schema: Schema) -> list[str]:
        """The fixed words that `schema` allows."""
        words: list[str] = []
        for branch in self.branches(schema):
            words += [str(option) for option in branch.get("enum", ())]
            words += [str(branch["const"])] if "const" in branch else []
        return words

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
        words = self.words({"anyOf": branches})
        tags = [tag[1] for branch in branches if (tag := self.tag(branch))]
        parts = words[:]
        if {b.get("type") for b in branches} >= {"string", "integer", "number", "boolean"}:
            return "text, a number or true/false"
        if tags:
            key = next(tag[0] for branch in branches if (tag := self.tag(branch)))
            parts.append(f"a mapping whose {key} is {one_of(tags)}")
        kinds = {branch.get("type") for branch in branches}
        for branch in branches:
            if branch.get("type") == "integer" and "number" in kinds:
                continue
            if "enum" not in branch and "const" not in branch and not self.tag(branch):
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
            keys = "keys" if len(schema["properties"]) > 1 else "key"
            return f"a mapping with the {keys} {one_of(schema['properties'], 'and')}"
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
