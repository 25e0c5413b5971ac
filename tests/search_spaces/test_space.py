"""Conditional spaces: what is inactive never appears, what is proposed belongs, grids are whole."""

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from search_spaces.named import NAMED_SPACES
from search_spaces.search import SearchConfig
from search_spaces.space import SearchSpace, SpaceError
from search_spaces.suggesters import RandomSuggester
from search_spaces.values import identity, leaf_keys
from tests.search_spaces.spaces import conditional_spaces
from tests.search_spaces.test_domains import Fixed


def space_of(forms: dict[str, Any], **more: Any) -> SearchSpace:
    return SearchSpace.from_config(SearchConfig.model_validate({"space": forms}).space, **more)


@settings(max_examples=40)
@given(conditional_spaces(), st.integers(0, 2**32), st.integers(0, 1000))
def test_exactly_the_active_keys_are_proposed(space: SearchSpace, seed: int, number: int) -> None:
    values = space.suggest(RandomSuggester(seed, number))
    for key, domain in space.domains.items():
        holds = all(
            name in values and identity(values[name]) in {identity(value) for value in allowed}
            for name, allowed in domain.when.items()
        )
        assert (key in values) == holds
    assert values in space


@settings(max_examples=40)
@given(conditional_spaces(), st.integers(0, 100))
def test_one_value_more_or_less_is_no_proposal(space: SearchSpace, number: int) -> None:
    values = space.suggest(RandomSuggester(0, number))
    assert {**values, "nowhere": 1} not in space
    for key in values:
        assert {name: value for name, value in values.items() if name != key} not in space


@settings(max_examples=40)
@given(conditional_spaces(), st.integers(0, 100))
def test_draws_are_found_again(space: SearchSpace, number: int) -> None:
    values = space.suggest(RandomSuggester(0, number))
    again = space.suggest(Fixed(space.locate(values)))
    assert list(again) == list(values)
    assert space.locate(again) == pytest.approx(space.locate(values), abs=1e-6)


@settings(max_examples=40)
@given(conditional_spaces())
def test_a_grid_has_every_point_once(space: SearchSpace) -> None:
    total = 1
    for domain in space.domains.values():
        total *= len(domain.grid())
    assume(total < 3000)
    points = space.grid_points()
    assert all(point in space for point in points)
    assert len({identity(point) for point in points}) == len(points)
    if not any(domain.when for domain in space.domains.values()):
        assert len(points) == total


def test_a_conditional_grid_is_counted() -> None:
    space = space_of(
        {
            "dropout": {"float": [0, 0.5], "when": {"hidden": [[128], [256, 128]]}},
            "hidden": {"choice": [[], [128], [256, 128]]},
        }
    )
    assert len(space.grid_points()) == 1 + 2 * 3


def test_a_grid_that_is_too_large_says_so() -> None:
    forms = {f"k{i}": {"float": [0, 1], "points": 10} for i in range(6)}
    with pytest.raises(SpaceError, match="more than 100,000 points"):
        space_of(forms).grid_points()


def test_conditions_on_fixed_keys_are_decided_at_once() -> None:
    forms = {
        "training.optimizer.momentum": {"float": [0, 1], "when": {"training.optimizer.name": "sgd"}},
        "nested": {"choice": [1], "when": {"training.optimizer.momentum": 0.5}},
    }
    sgd = space_of(forms, fixed={"training": {"optimizer": {"name": "sgd"}}})
    adam = space_of(forms, fixed={"training": {"optimizer": {"name": "adam"}}})
    assert list(sgd.domains) == ["training.optimizer.momentum", "nested"]
    assert not adam.domains


def test_a_condition_may_name_a_part_of_a_chosen_mapping() -> None:
    space = space_of(
        {
            "training.optimizer": {"choice": [{"name": "adam"}, {"name": "sgd", "nesterov": True}]},
            "training.optimizer.momentum": {"float": [0.5, 0.9], "when": {"training.optimizer.name": "sgd"}},
        }
    )
    for number in range(20):
        values = space.suggest(RandomSuggester(0, number))
        is_sgd = values["training.optimizer"]["name"] == "sgd"
        assert ("training.optimizer.momentum" in values) == is_sgd


@pytest.mark.parametrize(
    ("forms", "key", "message"),
    [
        ({"a": {"choice": [1], "when": {"b.c": 1}}}, "a", "b.c, which is neither searched nor set"),
        (
            {
                "a": {"choice": [1], "when": {"b": 1}},
                "b": {"choice": [1], "when": {"c": 1}},
                "c": {"choice": [1], "when": {"a": 1}},
            },
            "a",
            "the conditions of a, b, c wait for each other",
        ),
        ({"a": {"choice": [1], "when": {"a": 1}}}, "a", "wait for each other"),
        (
            {"a": {"choice": [1], "when": {"h": [128]}}, "h": {"choice": [[], [128]]}},
            "a",
            "h to be 128, which it never is; for the one value [128] write [[128]]",
        ),
        ({"a": {"choice": [1], "when": {"h": 9}}, "h": {"int": [1, 5]}}, "a", "h to be 9, which it never is"),
        (
            {"a": {"choice": [1], "when": {"b": 1}}, "b.c": {"choice": [1]}},
            "a",
            "of which only b.c is searched",
        ),
    ],
)
def test_a_space_that_cannot_be_meant_says_why(forms: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(forms)
    assert caught.value.key == key
    assert message in caught.value.message
    assert str(caught.value) == f"{key}: {caught.value.message}"


def test_ready_made_spaces_compose() -> None:
    config = SearchConfig.model_validate({"space": ["task_weights", "head_architecture"]})
    space = SearchSpace.from_config(config.space, tasks=["left", "right"])
    values = [space.suggest(RandomSuggester(0, number)) for number in range(30)]
    assert all(sum(v["balancing.weights"].values()) == pytest.approx(1) for v in values)
    assert {tuple(v) for v in values} == {
        ("balancing.weights", "model.heads.default.kind"),
        (
            "balancing.weights",
            "model.heads.default.kind",
            "model.heads.default.hidden",
            "model.heads.default.dropout",
        ),
    }


@pytest.mark.parametrize("tasks", [2, 3, 40])
def test_every_ready_made_space_fits_any_number_of_tasks(tasks: int) -> None:
    fixed = {"training": {"optimizer": {"name": "sgd"}}}
    for name in NAMED_SPACES:
        space = SearchSpace.from_config([name], tasks=[f"t{i}" for i in range(tasks)], fixed=fixed)
        assert space.suggest(RandomSuggester(0, 0)) in space


def test_ready_made_spaces_that_do_not_fit_say_why() -> None:
    with pytest.raises(SpaceError, match="at least two tasks"):
        SearchSpace.from_config(["task_weights"], tasks=["one"])
    with pytest.raises(SpaceError, match="searches model"):
        SearchSpace.from_config(["head_architecture", "head_architecture_per_task"], tasks=["default"])


@settings(max_examples=40)
@given(conditional_spaces(), st.integers(0, 2**32), st.integers(0, 1000))
def test_leaves_are_what_proposals_set(space: SearchSpace, seed: int, number: int) -> None:
    proposal = space.suggest(RandomSuggester(seed, number))
    assert {leaf for key, value in proposal.items() for leaf in leaf_keys(key, value)} <= set(space.leaves())
