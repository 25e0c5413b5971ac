"""Whatever our packages import is declared: an installation in an empty environment has all of it."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = ("orchestrator", "trainables", "search_spaces")
ELSEWHERE = {
    "timm": "an extra: a message says what to install",
    "pydantic_core": "pinned exactly by pydantic",
}


def imported() -> set[str]:
    """Top-level names of all import statements, also of those within functions."""
    found = set()
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(OURS)


def test_every_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    providers = packages_distributions()
    assert len(imported()) > 15
    for name in imported() - ELSEWHERE.keys():
        of_name = {canonicalize_name(distribution) for distribution in providers[name]}
        assert of_name & declared, f"{name} is imported, but none of {sorted(of_name)} is a dependency"


def test_every_dependency_is_named_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for lines in (project["dependencies"], *project["optional-dependencies"].values()):
        names = [canonicalize_name(Requirement(line).name) for line in lines]
        assert len(names) == len(set(names))
