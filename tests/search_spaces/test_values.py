from typing import Any

import pytest
from hypothesis import given

from search_spaces.values import identity, look_up, nest, plain
from tests.search_spaces.spaces import VALUES


def test_dotted_keys_are_nested() -> None:
    assert nest({"a.b": 1, "a.c.d": [2], "e": None}) == {"a": {"b": 1, "c": {"d": [2]}}, "e": None}


def test_what_is_set_replaces_and_leaves_the_rest() -> None:
    base = {"training": {"optimizer": {"name": "adamw", "betas": [0.9, 0.99]}, "epochs": 3}}
    nested = nest({"training.optimizer.lr": 0.1, "training.optimizer": {"name": "sgd"}}, onto=base)
    assert nested == {"training": {"optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 3}}
    assert base["training"]["optimizer"] == {"name": "adamw", "betas": [0.9, 0.99]}


def test_no_part_of_a_scalar_can_be_set() -> None:
    with pytest.raises(ValueError, match="a is 3, not a mapping"):
        nest({"a.b": 1}, onto={"a": 3})


@given(VALUES)
def test_a_nested_value_is_found_again(value: Any) -> None:
    assert look_up(nest({"a.b": value}), "a.b") == value


def test_look_up_of_what_is_not_there() -> None:
    for key in ("b", "a.c", "a.b.c"):
        with pytest.raises(KeyError):
            look_up({"a": {"b": 1}}, key)


@given(VALUES)
def test_plain_values_mean_the_same(value: Any) -> None:
    assert identity(plain(value)) == identity(value)


def test_what_means_the_same() -> None:
    assert identity([1, (2,)]) == identity((1.0, [2]))
    assert identity(1) != identity(True)
    assert identity({"a": 1, "b": 2}) == identity({"b": 2, "a": 1})
    assert identity([]) != identity({})
    assert identity("1") != identity(1)
    with pytest.raises(ValueError, match="not a YAML value"):
        plain({1, 2})
