"""What the documents promise is there: the files they link to, the experiment file they show, every module."""

import re
from pathlib import Path

import pytest

from orchestrator.spec.load import parse_spec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/*.md")),
]
MODULES = [
    path.relative_to(ROOT)
    for package in ("orchestrator", "trainables", "search_spaces")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    local = [target.partition("#")[0] for target in targets if "://" not in target and target[0] != "#"]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_the_experiment_file_of_the_readme_is_one(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    specs = [parse_spec(block, folder=tmp_path) for block in blocks]
    assert [spec.name for spec in specs] == ["fashion-pairs"]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_is_on_the_file_map(module: Path) -> None:
    """In the lines of its package and of its folder."""
    file_map = README.partition("### File map")[2]
    package = file_map.partition(f"**`{module.parts[0]}/`**")[2].partition("\n**`")[0]
    folder = package
    if len(module.parts) == 3:
        folder = package.partition(f"**`{module.parts[1]}/`**")[2].partition("\n- **`")[0]
    assert f"`{module.name}`" in folder
