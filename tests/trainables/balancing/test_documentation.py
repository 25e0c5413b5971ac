"""The page on balancing says what the code does."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.contracts.methods import METHODS
from tests.contracts.structures import CNN, SHARING
from trainables.config.model import ModelConfig
from trainables.config.sharing import SharingConfig
from trainables.model.multitask import MultiTaskModel, build_model

PAGE = Path(__file__).parents[3] / "docs" / "balancing.md"


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose first column is called `first`."""
    table = PAGE.read_text("utf-8").partition(f"| {first} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_scale_of_every_method_is_the_one_that_is_tested() -> None:
    said = {name.strip("`"): scale.split()[0] for name, _, _, _, scale, _ in rows("method")}
    assert said == {method.section["method"]: method.scale for method in METHODS.values()}


def test_the_structures_that_share_features_are_those_of_the_code() -> None:
    said = {name.strip("`"): features != "no" for name, _, features in rows("structure")}
    sections = get_args(get_args(SharingConfig)[0])
    assert said == {cls.model_fields["kind"].default: cls.shares_features for cls in sections}


WORDS = {
    "yes": r".*",
    "yes, if anything is shared": r"trunk\.",
    "yes: all columns, stitches": r"columns\.|stitches\.",
    "yes: the backbone": r"trunk\.",
    "yes: trunk, experts": r"trunk\.|experts\.",
    "yes: trunk, shared experts, and before the last level all experts and the shared gates": (
        r"trunk\.|levels\.\d+\.experts\.task_\.|levels\.{before_last}\.(experts|gates\.task_)\."
    ),
}
"""What the column `parameters` says, and the names of those parameters in the structure."""


def model(sharing: dict[str, Any]) -> MultiTaskModel:
    config = ModelConfig.model_validate({"backbone": CNN, "sharing": sharing})
    return build_model(
        config, channels=1, image_size=(12, 12), outputs={"shape": 3, "bright": 1, "marks": 4}, seed=0
    )


@pytest.mark.parametrize("sharing", [{"kind": "hard"}, *SHARING.values()], ids=["hard", *SHARING])
def test_the_parameters_that_structures_share_are_those_of_the_code(sharing: dict[str, Any]) -> None:
    said = {kind.strip("`"): parameters for kind, parameters, _ in rows("structure")}
    before_last = f"[0-{levels - 2}]" if (levels := sharing.get("levels", 1)) > 1 else "none"
    pattern = WORDS[said[sharing["kind"]]].replace("{before_last}", before_last)
    built = model(sharing)
    names = {parameter: name for name, parameter in built.backbone.named_parameters()}
    shared = {names[parameter] for parameter in built.shared_parameters()}
    assert shared == {name for name in names.values() if re.match(pattern, name)}


def test_a_structure_may_share_nothing() -> None:
    assert not model({"kind": "branching", "at": 0}).shared_parameters()
