"""The JSON Schema of experiment files, for editors, and the reference page made from it.

`python -m orchestrator.spec.schema --markdown docs/experiment-files.md` renews the reference on that page.
"""

import argparse
import ast
import inspect
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator.spec.finding import Schema, one_of
from orchestrator.spec.schema_reader import SchemaReader
from orchestrator.spec.sections import ExperimentSpec

ORDER = ("name", "seed", "data", "tasks", "model", "balancing", "training", "search", "compute", "tracking")
"""The sections as people write them."""
MARK = (
    "<!-- Made by `python -m orchestrator.spec.schema --markdown docs/experiment-files.md` from here on -->"
)
"""Ends the part of the page that is written by hand."""
SHORT_FORMS = {"ModelConfig": {"backbone": "name"}}
"""Keys that also take text, which stands for this key of their mapping."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an experiment file.

    Editors use it through a first line such as `# yaml-language-server: $schema=experiment.schema.json`.
    """
    schema = ExperimentSpec.model_json_schema()
    models = {model.__name__: model for model in _models(BaseModel)}
    for name, part in [("ExperimentSpec", schema), *schema["$defs"].items()]:
        _describe_keys(part, models[name])
    properties = schema["properties"]
    schema["properties"] = {key: properties[key] for key in ORDER}
    for model, keys in SHORT_FORMS.items():
        for key, inner in keys.items():
            branches = schema["$defs"][model]["properties"][key]["anyOf"]
            if not any(branch.get("type") == "string" for branch in branches):
                branches.insert(0, {"type": "string", "description": f"Short for {{{inner}: …}}."})
    for model in schema["$defs"].values():
        if when := model["properties"].get("when"):
            when["additionalProperties"] = True  # one value as well as a list of them
    _loosen(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Equipoise experiment",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Every section that exists."""
    for model in base.__subclasses__():
        if model.__module__.partition(".")[0] in ("orchestrator", "search_spaces", "trainables"):
            yield model
        yield from _models(model)


def _describe_keys(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Add what the source says below each field.

    pydantic can do so too (`use_attribute_docstrings`), but at every start of the program, and for 70 ms.
    """
    meanings: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if cls.__module__.partition(".")[0] in ("orchestrator", "search_spaces", "trainables"):
            meanings |= _meanings(inspect.getsourcefile(cls) or "").get(cls.__name__, {})
    for name, field in model.model_fields.items():
        if name in meanings:
            schema["properties"][field.alias or name]["description"] = meanings[name]


@cache
def _meanings(file: str) -> dict[str, dict[str, str]]:
    """The text below each annotated attribute, by class, of a source file."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(Path(file).read_text("utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, text in itertools.pairwise(node.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(meaning))
                ):
                    found.setdefault(node.name, {})[name] = inspect.cleandoc(meaning)
    return found


def _loosen(schema: Any) -> None:
    """`oneOf` becomes `anyOf`: what does not name its kind fits several of them."""
    if isinstance(schema, dict):
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
            schema.pop("discriminator", None)
        for inner in schema.values():
            _loosen(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _loosen(inner)


def markdown() -> str:
    """The reference of every key: type, default, meaning."""
    reader = SchemaReader(json_schema())
    lines: list[str] = []
    plain = {key: schema for key, schema in reader.root["properties"].items() if key in ("name", "seed")}
    lines += ["## `name` and `seed`", "", *_table(reader, plain, ["name"])]
    for section in ORDER:
        if section in plain:
            continue
        schema = reader.root["properties"][section]
        lines += ["", f"## `{section}`"]
        for heading, model, tagged in _mappings(reader, schema, section):
            if heading != section:
                lines += ["", f"### `{heading}`"]
            about = _one_line(model.get("description", "").split("\n\n")[0])
            lines += ["", *([about, ""] if about else [])]
            required = [*model.get("required", ()), *(_tags(reader, model) if tagged else ())]
            lines += _table(reader, model["properties"], required)
    return "\n".join(lines) + "\n"


def _mappings(reader: SchemaReader, schema: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    """The mapping at `path`, one per kind, and the mappings inside of it.

    Each with its heading, and whether its kind must be written.
    """
    branches = [branch for branch in reader.branches(schema) if branch.get("type") != "null"]
    for branch in branches:
        if branch.get("type") == "array" and isinstance(branch.get("items"), Mapping):
            yield from _mappings(reader, branch["items"], f"{path}[]")
        if branch.get("type") != "object":
            continue
        if "properties" not in branch:
            further = reader.free_keys(branch)[1]
            if further:
                yield from _mappings(reader, further, f"{path}.<{_placeholder(path)}>")
            continue
        heading = path + (f": {_kind(reader, branch)}" if len(branches) > 1 else "")
        yield heading, branch, len(branches) > 1 and "default" not in schema
        for key, inner in branch["properties"].items():
            yield from _mappings(reader, inner, f"{path}.{key}")


def _placeholder(path: str) -> str:
    return {"search.space": "key", "model.heads": "task or default"}.get(path, "task")


def _kind(reader: SchemaReader, branch: Schema) -> str:
    """What tells this kind from the others: the value of its tag, else its first required key."""
    for key in _tags(reader, branch):
        return str(reader.resolve(branch["properties"][key])["const"])
    return str(next(iter(branch.get("required") or branch["properties"])))


def _tags(reader: SchemaReader, branch: Schema) -> list[str]:
    """Keys with one possible value, which tells this kind from the others."""
    return [key for key, inner in branch["properties"].items() if "const" in reader.resolve(inner)]


def _table(reader: SchemaReader, properties: Mapping[str, Schema], required: Sequence[str]) -> list[str]:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows = sorted(properties.items(), key=lambda row: _rank(reader, row[0], row[1], required))
    for key, schema in rows:
        kind = _cell(_type(reader, schema))
        default = "*required*" if key in required else _default(reader, schema)
        about = _one_line(schema.get("description") or "")
        lines.append(f"| `{key}` | {kind} | {_cell(default)} | {_cell(about)} |")
    return lines


def _rank(reader: SchemaReader, key: str, schema: Schema, required: Sequence[str]) -> int:
    """What tells the kinds apart comes first, then what must be there; `when` comes last."""
    if "const" in reader.resolve(schema):
        return 0
    return 1 if key in required else 3 if key == "when" else 2


def _type(reader: SchemaReader, schema: Schema) -> str:
    """What a key holds; mappings have tables of their own."""
    branches = reader.branches(schema)
    parts: list[str] = []
    kinds: list[str] = []
    for branch in branches:
        if "properties" in branch:
            kinds.append(_kind(reader, branch))
        elif branch.get("type") == "object":
            inner = reader.free_keys(branch)[1]
            parts.append(f"mapping of names to {_type(reader, inner)}" if inner else "mapping")
        elif branch.get("type") == "array" and isinstance(branch.get("items"), Mapping):
            parts.append(f"list of {_type(reader, branch['items'])}")
        else:
            words = reader.describe(branch)
            if not ("enum" in branch or "const" in branch) or len(branches) == 1:
                words = words.removeprefix("a ")
            parts.append("null" if branch.get("type") == "null" else words)
    if {"text", "whole number", "number", "true or false"} <= set(parts):
        parts = [part for part in parts if part not in ("text", "whole number", "number", "true or false")]
        parts.insert(0, "text, number or true/false")
    if "number" in parts and "whole number" in parts:
        parts.remove("whole number")
    if kinds:
        parts.append("mapping (below)" if len(kinds) == 1 else f"mapping (below: {one_of(kinds)})")
    return one_of(dict.fromkeys(parts)) if parts else "any value"


def _default(reader: SchemaReader, schema: Schema) -> str:
    if "default" not in schema:
        return "`{}`" if reader.resolve(schema).get("type") == "object" else ""
    default = schema["default"]
    if isinstance(default, Mapping) and default:
        tag = next((default[key] for key in ("name", "method", "kind") if key in default), None)
        return f"`{tag}`" if tag else "its defaults"
    return (
        f"`{json.dumps(default)}`" if not isinstance(default, str) else f"`{default}`" if default else '`""`'
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def write_page(page: Path) -> str:
    """The text of the page at `page` with its generated part renewed."""
    written, mark, _ = page.read_text("utf-8").partition(MARK)
    if not mark:
        raise ValueError(f"{page} has no line {MARK}")
    return f"{written}{MARK}\n\n{markdown()}"


def main() -> None:
    """Print the JSON Schema, or renew the reference page."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.spec.schema", description=main.__doc__)
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="renew the generated part of this page")
    page: Path | None = parser.parse_args().markdown
    if page is None:
        sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
    else:
        page.write_text(write_page(page), "utf-8")


if __name__ == "__main__":
    main()
