"""The JSON Schema and the reference page say what is true."""

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from orchestrator.spec import parse_spec
from orchestrator.spec.document import read_document
from orchestrator.spec.schema import ORDER, json_schema, write_page
from orchestrator.spec.schema_reader import SchemaReader
from orchestrator.spec.sections import ExperimentSpec

ROOT = Path(__file__).parents[3]
START = "name: a\ndata: {source: a.csv}\ntasks: {a: {type: binary, label: a}}\n"
PAGE = ROOT / "docs" / "experiment-files.md"


def test_the_page_is_current() -> None:
    """If not: `python -m orchestrator.spec.schema --markdown docs/experiment-files.md`."""
    assert PAGE.read_text("utf-8") == write_page(PAGE)


def test_the_page_has_every_key() -> None:
    page = PAGE.read_text("utf-8")
    for path in SchemaReader.of(ExperimentSpec).known_paths():
        last = path.rpartition(".")[2]
        assert last == "<name>" or f"`{last}`" in page, path


def test_what_a_split_column_is_stands_beside_it() -> None:
    """A docstring below the wrong field is a meaning in the wrong row."""
    rows = PAGE.read_text("utf-8").partition("### `data.split: column`")[2].partition("###")[0].splitlines()
    assert [row.rpartition(" | ")[2].split()[0] for row in rows if row.startswith("| `")] == ["Of", "Column"]


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
def test_what_the_page_shows_loads(block: str) -> None:
    whole = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
    parse_spec(block if block == whole else whole.partition("search:")[0] + block)


def test_sections_come_in_the_order_in_which_people_write_them() -> None:
    schema = json_schema()
    assert tuple(schema["properties"]) == ORDER
    assert set(schema["required"]) == {"name", "data", "tasks"}
    assert schema["additionalProperties"] is False


def test_short_forms_are_part_of_the_schema() -> None:
    backbone = json_schema()["$defs"]["ModelConfig"]["properties"]["backbone"]
    reader = SchemaReader({**backbone, "$defs": json_schema()["$defs"]})
    assert any(branch.get("type") == "string" for branch in reader.branches(reader.root))


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_editors_accept_the_examples(file: Path) -> None:
    validator = Draft202012Validator(json_schema())
    assert [*validator.iter_errors(read_document(file.read_text(), file.name).data)] == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("training: {epoch: 3}", ["training"]),
        ("training: {epochs: '3'}", ["training", "epochs"]),
        ("model: {backbone: {name: lenet, depth: 3}}", ["model", "backbone", "depth"]),
        ("search: {space: {training.epochs: {chioce: [1]}}}", ["search", "space"]),
    ],
)
def test_editors_see_mistakes(text: str, path: list[str]) -> None:
    data = read_document(f"{START}{text}\n", "e.yaml").data
    found = [[*error.absolute_path] for error in Draft202012Validator(json_schema()).iter_errors(data)]
    assert any(places == path[: len(places)] and places for places in found)


@pytest.mark.parametrize(
    "text",
    [
        "training: {optimizer: {lr: 0.1}}",
        "model: {backbone: resnet18}",
        "search: {space: {training.optimizer.lr: {log: [1e-3, 1e-2], when: {training.optimizer.name: sgd}}}}",
        "search: {space: [task_weights]}",
    ],
)
def test_editors_accept_what_may_be_left_out(text: str) -> None:
    data = read_document(f"{START}{text}\n", "e.yaml").data
    assert [*Draft202012Validator(json_schema()).iter_errors(data)] == []


def test_every_reference_of_the_schema_resolves() -> None:
    schema = json_schema()
    text = str(schema)
    for name in set(re.findall(r"#/\$defs/(\w+)", text)):
        assert name in schema["$defs"]
