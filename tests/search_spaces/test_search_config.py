from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces.objectives import is_minimised
from search_spaces.search import SearchConfig


def test_directions() -> None:
    assert [is_minimised(name) for name in ("score", "a.accuracy", "loss.f1", "a.loss", "a.ece")] == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_a_config_is_what_its_own_text_says() -> None:
    config = SearchConfig.model_validate(
        {
            "trials": 3,
            "objectives": ["a.accuracy", "b.loss"],
            "stop_early": {"kind": "asha", "on": "score", "min_epochs": 3},
            "space": {"balancing.weights": {"simplex": ["a", "b"]}, "x": {"log": [0.1, 1], "when": {"y": 1}}},
        }
    )
    assert SearchConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"objectives": ["score", "score"]}, "objectives names score twice"),
        ({"objectives": ["a.b.c"]}, "match pattern"),
        ({"space": ["task_weights", "task_weights"]}, "space names task_weights twice"),
        ({"space": ["nowhere"]}, "'task_weights', 'head_architecture'"),
        ({"space": 3}, "valid tuple"),
        ({"trials": 0}, "greater than or equal to 1"),
        ({"stop_early": {"reduction": 1}}, "greater than or equal to 2"),
    ],
)
def test_wrong_sections_get_one_message(search: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SearchConfig.model_validate(search)
    (error,) = caught.value.errors()
    assert message in error["msg"]
