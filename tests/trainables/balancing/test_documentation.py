"""The page on balancing says what the code does."""

from pathlib import Path
from typing import get_args

from tests.contracts.methods import METHODS
from trainables.config.sharing import SharingConfig

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
