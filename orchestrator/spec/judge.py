"""What is wrong with a value, judged by the schema: one sentence for each mistake, and what was meant."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.spec.finding import Finding, KeyPath, Schema, dotted, is_what, nearest, one_of, quoted
from orchestrator.spec.schema_reader import SchemaReader


class Judge:
    """Judges plain values by a schema. Of a union, it names what is wrong with the branch that was meant."""

    def __init__(self, reader: SchemaReader) -> None:
        self.reader = reader

    def findings(self, schema: Schema, value: Any, path: KeyPath) -> list[Finding]:
        """What is wrong with `value`, judged by `schema`."""
        branches = self.reader.branches(schema)
        if len(branches) == 1:
            return self._single(branches[0], value, path)
        if value is None and any(branch.get("type") == "null" for branch in branches):
            return []
        branches = [branch for branch in branches if branch.get("type") != "null"]
        if isinstance(value, dict):
            mappings = [branch for branch in branches if branch.get("type") == "object"]
            if mappings:
                return self._mapping_union(mappings, value, path, self.reader.resolve(schema).get("default"))
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
        options = self.reader.words(schema)
        scalar = [branch for branch in self.reader.branches(schema) if branch.get("type") != "null"]
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
        return Finding(path, f"{what}; {self.reader.describe(schema)} is needed.{hint}")

    @staticmethod
    def _numeric(kinds: Iterable[Any]) -> bool:
        return bool({"integer", "number"} & set(kinds))

    def _lists(self, branches: Iterable[Schema], value: Any) -> bool:
        return any(
            not self.findings(b["items"], value, ()) for b in branches if isinstance(b.get("items"), dict)
        )

    def _mapping(
        self, schema: Schema, value: Any, path: KeyPath, others: Sequence[Schema] = ()
    ) -> list[Finding]:
        if not isinstance(value, dict):
            return [Finding(path, f"{is_what(value)}; {self.reader.describe(schema)} is needed.")]
        properties: Mapping[str, Schema] = schema.get("properties", {})
        names, further = self.reader.free_keys(schema)
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
                need = self.reader.describe(properties[key]) if key in properties else "a value"
                need = "" if need.startswith("a mapping") else f" ({need})"
                message = f"the key {key} is missing{need}"
                result.append(Finding(path, message, at_key=True, missing=(key, properties.get(key, {}))))
        return result

    def _free_key(self, names: Schema, key: Any, path: KeyPath) -> list[Finding]:
        """What is wrong with a key that the user chooses."""
        if not isinstance(key, str):
            message = f'the key {quoted(key)} must be text. Write "{quoted(key)}" with quotes.'
        elif not self._fits(names, key):
            message = f"{quoted(key)} cannot be a name here; {self.reader.describe(names)} is needed"
        else:
            return []
        return [Finding(path, message, at_key=True)]

    def _unknown_key(
        self, key: Any, properties: Mapping[str, Schema], others: Sequence[Schema], path: KeyPath
    ) -> str:
        known = list(properties)
        near = nearest(str(key), known)
        elsewhere = [
            t for other in others if key in other.get("properties", {}) and (t := self.reader.tag(other))
        ]
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
        return [path for path in self.reader.known_paths() if path.rpartition(".")[2] == name]

    def _mapping_union(
        self, branches: Sequence[Schema], value: dict[Any, Any], path: KeyPath, default: Any
    ) -> list[Finding]:
        """Judge a mapping by the branch that was meant: by its tag, else by its keys."""
        tags = [tag for branch in branches if (tag := self.reader.tag(branch))]
        if tags:
            name = tags[0][0]
            words = [word for _, word in tags]
            open_branches = [branch for branch in branches if not self.reader.tag(branch)]
            if name not in value and isinstance(default, dict) and name in default:
                value = {name: default[name], **value}
            if name not in value:
                if not open_branches:
                    message = f"the key {name} is missing: {one_of(words)} is needed"
                    return [Finding(path, message, at_key=True, missing=(name, {"enum": words}))]
            else:
                fitting = [
                    b for b in branches if (t := self.reader.tag(b)) and _same(value[name], t[1])
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

    def _list(self, schema: Schema, value: Any, path: KeyPath) -> list[Finding]:
        if not isinstance(value, list | tuple):
            return [self._unfit(schema, value, path)]
        fixed = schema.get("prefixItems", ())
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return [
                Finding(
                    path, f"{quoted(value)} has {len(value)} items; {self.reader.describe(schema)} is needed."
                )
            ]
        result: list[Finding] = []
        for index, inner in enumerate(value):
            item = fixed[index] if index < len(fixed) else schema.get("items", {})
            result += self.findings(item, inner, (*path, index))
        return result


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
