"""The page on balancing says what the code does."""

from pathlib import Path

from tests.contracts.methods import METHODS

PAGE = Path(__file__).parents[3] / "docs" / "balancing.md"


def test_the_scale_of_every_method_is_the_one_that_is_tested() -> None:
    table = PAGE.read_text().partition("| method |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    said = {name.strip("`"): scale.split()[0] for name, _, _, _, scale, _ in cells}
    assert said == {method.section["method"]: method.scale for method in METHODS.values()}
