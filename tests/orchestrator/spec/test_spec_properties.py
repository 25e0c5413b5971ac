"""Whatever a file holds, loading it ends in a spec or in a ConfigError that a person can read."""

import copy
import io
import re
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from ruamel.yaml import YAML

from orchestrator.errors import ConfigError
from orchestrator.spec import parse_spec

TEXT = (Path(__file__).parents[3] / "examples" / "table.yaml").read_text()
TREE = YAML(typ="safe", pure=True).load(TEXT)
JARGON = re.compile(
    r"pydantic|tagged-union|function-(before|after|wrap)|Input should|literal\[|constrained-|NoneType"
)
PLACED = re.compile(r"e\.yaml:\d+:\d+: .|\d+ errors in e\.yaml|-s |e\.yaml: nested")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(allow_nan=True),
    st.sampled_from(
        ["", "auto", "default", "sgd", "mlp", "score", "color.f1", "1", "no", "ünï: code", "[", "{a}"]
    ),
)
names = st.sampled_from(["name", "when", "min", "a.b", "x"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


def nodes(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of the tree is, itself left out."""
    found = []
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in inside:
        found += [(*path, key), *nodes(inner, (*path, key))]
    return found


PATHS = nodes(TREE)


def parent(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path[:-1]:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The example, with one to three nodes dropped, renamed, replaced, moved or doubled."""
    tree = copy.deepcopy(TREE)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PATHS))
        around = parent(tree, path)
        key = path[-1]
        if isinstance(around, dict) and key in around:
            match draw(st.sampled_from(["drop", "rename", "replace", "move"])):
                case "drop":
                    del around[key]
                case "rename":
                    name = draw(
                        st.sampled_from(
                            [f"{key}x", str(key)[:-1], str(key).upper(), "", 3, None, True, "a b"]
                        )
                    )
                    around[name] = around.pop(key)
                case "replace":
                    around[key] = draw(values)
                case "move":
                    other = parent(tree, draw(st.sampled_from(PATHS)))
                    if isinstance(other, dict):
                        other[key] = copy.deepcopy(around[key])
        elif isinstance(around, list) and isinstance(key, int) and key < len(around):
            if draw(st.booleans()):
                around[key] = draw(values)
            else:
                around.insert(key, around[key])
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(tree, stream)
    return stream.getvalue()


def load(text: str, overrides: tuple[str, ...] = ()) -> None:
    try:
        parse_spec(text, name="e.yaml", overrides=overrides)
    except ConfigError as error:
        message = error.message
    else:
        return
    assert message
    assert not JARGON.search(message), message
    for line in message.splitlines():
        assert PLACED.match(line), message


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_changed_tree_loads_or_is_explained(text: str) -> None:
    load(text)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, len(TEXT)),
    st.integers(0, 12),
    st.text(st.sampled_from("\n\t :-[]{}#&*!|>'\"%@`,?ab1~<"), max_size=4),
)
def test_changed_text_loads_or_is_explained(start: int, length: int, inserted: str) -> None:
    load(TEXT[:start] + inserted + TEXT[start + length :])


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_any_text_loads_or_is_explained(text: str) -> None:
    load(text)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PATHS), st.sampled_from(["null", "3", "x", "[1]", "{a: 1}", "", "[", "1: 2", "*a", "'"])
)
def test_any_override_applies_or_is_explained(path: tuple[Any, ...], value: str) -> None:
    load(TEXT, (f"{'.'.join(str(part) for part in path)}={value}",))
