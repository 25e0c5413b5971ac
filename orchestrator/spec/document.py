"""An experiment file as plain values with positions: YAML 1.2 read strictly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.errors import ConfigError
from orchestrator.spec.finding import Finding, KeyPath, dotted, quoted

PLAIN_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
MOST_NODES = 50_000
"""Aliases are expanded, so a short file can describe an enormous one."""


class Place(NamedTuple):
    """Where something was written: a line and column of the file (from 1), or an override."""

    line: int
    column: int
    override: str | None = None


@dataclass
class Document:
    """An experiment file as plain values, and where each of them was written."""

    name: str
    data: Any = None
    values: dict[KeyPath, Place] = field(default_factory=dict)
    """Of each value."""
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    """Of each key."""
    findings: list[tuple[Place, str]] = field(default_factory=list)
    """What is wrong with the YAML itself, without being unreadable."""

    def place(self, finding: Finding) -> Place:
        """Where `finding` was written, or the nearest enclosing thing that was."""
        path = finding.path
        if finding.at_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
            if path in self.keys and path != ():
                return self.keys[path]
        return self.values.get(path, Place(1, 1))

    def where(self, place: Place) -> str:
        """`file:line:column`, or the override."""
        return f"-s {place.override}" if place.override else f"{self.name}:{place.line}:{place.column}"

    def line(self, place: Place, message: str) -> str:
        """One problem as compilers print it."""
        return f"{self.where(place)}: {message}"

    def error(self, findings: Sequence[Finding]) -> ConfigError:
        """All problems of the file in the order in which they stand there, overrides last."""
        placed = [*self.findings, *((self.place(finding), str(finding)) for finding in findings)]
        placed.sort(key=lambda problem: (problem[0].override or "", problem[0].line, problem[0].column))
        lines = list(dict.fromkeys(self.line(*problem) for problem in placed))
        head = [] if len(lines) == 1 else [f"{len(lines)} errors in {self.name}"]
        return ConfigError("\n".join([*head, *lines]))


def read_document(text: str, name: str) -> Document:
    """Parse YAML 1.2 into plain values with positions. Raises `ConfigError` if it is not one mapping."""
    reader = YAML(typ="safe", pure=True)
    reader.allow_duplicate_keys = True  # reported with everything else, below
    document = Document(name)
    try:
        node = reader.compose(text)
    except MarkedYAMLError as error:
        raise ConfigError(document.line(*_syntax_problem(error, text))) from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    except (YAMLError, ValueError, AttributeError, TypeError, IndexError) as error:
        first = str(error).split("\n", 1)[0].strip()
        raise ConfigError(f"{name}:1:1: not YAML: {first or type(error).__name__}") from None
    if node is None:
        document.data = {}
    elif isinstance(node, MappingNode):
        try:
            document.data = _Builder(document, reader).build(node, ())
        except RecursionError:
            raise ConfigError(f"{name}: nested too deeply, or an alias inside of its own anchor") from None
    else:
        raise ConfigError(f"{name}:1:1: the file must be `key: value` lines, beginning with `name:`")
    return document


class _Builder:
    """Turns YAML nodes into plain values, noting where each was written."""

    def __init__(self, document: Document, reader: YAML) -> None:
        self.document = document
        self.constructor = reader.constructor
        self.nodes = 0

    def build(self, node: Node, path: KeyPath, outer: tuple[int, ...] = ()) -> Any:
        self.nodes += 1
        place = _place(node)
        self.document.values[path] = place
        if self.nodes > MOST_NODES:
            raise ConfigError(self.document.line(place, f"more than {MOST_NODES:,} values, aliases expanded"))
        if id(node) in outer:
            raise ConfigError(self.document.line(place, f"{dotted(path)}: an alias inside of its own anchor"))
        outer = (*outer, id(node))
        if not isinstance(node, ScalarNode) and str(node.tag) not in PLAIN_COLLECTIONS:
            self._note(node, f"{dotted(path)}: the tag {_tag(node)} is not allowed: write plain values")
        if isinstance(node, MappingNode):
            return self._mapping(node, path, outer)
        if isinstance(node, SequenceNode):
            return [self.build(child, (*path, index), outer) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath, outer: tuple[int, ...]) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged.extend(value_node.value if isinstance(value_node, SequenceNode) else [value_node])
                continue
            if not isinstance(key_node, ScalarNode):
                self._note(
                    key_node, f"{dotted(path) or 'the file'}: a key must be text, not a list or mapping"
                )
                continue
            key = self._scalar(key_node, path)
            key_path = (*path, key)
            if key in result:
                first = self.document.keys[key_path]
                self._note(
                    key_node, f"{dotted(key_path)}: written twice, first in line {first.line}. Keep one."
                )
                continue
            self.document.keys[key_path] = _place(key_node)
            result[key] = self.build(value_node, key_path, outer)
            if result[key] is None and not value_node.value:  # nothing stands there: show the key
                self.document.values[key_path] = _place(key_node)
        for source in merged:
            if not isinstance(source, MappingNode):
                self._note(source, f"{dotted(path)}: `<<` merges mappings only")
                continue
            for key_node, value_node in _entries(source):
                key = self._scalar(key_node, path)
                if key not in result:
                    self.document.keys[(*path, key)] = _place(key_node)
                    result[key] = self.build(value_node, (*path, key), outer)
        return result

    def _scalar(self, node: Node, path: KeyPath) -> Any:
        tag = _tag(node).removeprefix("!!")
        text = node.value
        try:
            match tag:
                case "str" | "timestamp" | "value":
                    return text
                case "null":
                    return None
                case "bool" | "int" | "float":
                    return self.constructor.construct_object(node)
        except (ValueError, KeyError, OverflowError) as error:
            self._note(node, f"{dotted(path)}: {quoted(text)} is no number: {error}")
            return None
        self._note(node, f"{dotted(path)}: the tag {_tag(node)} is not allowed: write plain values")
        return None

    def _note(self, node: Node, message: str) -> None:
        self.document.findings.append((_place(node), message))


def _entries(node: MappingNode, depth: int = 0) -> Iterator[tuple[Node, Node]]:
    """The entries of a merged mapping, what it merges itself included."""
    if depth > 20:
        raise RecursionError
    for key_node, value_node in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            sources = value_node.value if isinstance(value_node, SequenceNode) else [value_node]
            for source in sources:
                if isinstance(source, MappingNode):
                    yield from _entries(source, depth + 1)
        elif isinstance(key_node, ScalarNode):
            yield key_node, value_node


def _tag(node: Node) -> str:
    return str(node.tag).replace("tag:yaml.org,2002:", "!!")


def _place(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _syntax_problem(error: MarkedYAMLError, text: str) -> tuple[Place, str]:
    """Position and sentence of what stopped the YAML parser."""
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    problem = str(error.problem or error.context or "not YAML").strip()
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line and "\\t" in problem:
        return place, "a tab, which YAML does not take as indentation. Use spaces."
    if "mapping values are not allowed" in problem:
        return (
            place,
            "a `:` in a place where no key can be. Does the indentation fit? Quote text with `: `.",
        )
    if "expected <block end>" in problem:
        return place, "the indentation fits no line above. Keys of one section begin in one column."
    if "undefined alias" in problem:
        return place, f"{problem.removeprefix('found ')}: no `&` anchor of this name stands above"
    if "another document" in problem:
        return place, "a second YAML document (`---`). One file is one experiment."
    if "cannot start any token" in problem:
        return place, f"{problem.removeprefix('found ')}. Put the value in quotes."
    context = str(error.context or "")
    started = f" ({context}" + (
        f" that began in line {error.context_mark.line + 1})" if error.context_mark else ")"
    )
    return place, f"not YAML: {problem}" + (started if context else "")
