"""Nodes that differ are refused before anything trains, with the node's name and the cure."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.launch.node_checks import Expected, Sight, UnfitNode, look

STORAGE, DATA = Path("/mnt/runs"), Path("/mnt/cache/prepared/0")
HERE = Sight("head", {"Python": "3.11.7", "torch": "2.14.1", "Equipoise's code": "0123abcd"}, (), 0.0)


def check(other: Sight) -> None:
    expected = Expected(HERE.versions, STORAGE, DATA, STORAGE / ".seen-1")
    expected.require_of({"10.0.0.2": other, "10.0.0.3": HERE})


def test_nodes_that_are_alike_pass() -> None:
    check(replace(HERE, host="worker"))


@pytest.mark.parametrize(
    ("other", "message", "cure"),
    [
        (
            replace(HERE, host="worker", versions=HERE.versions | {"torch": "2.13.0"}),
            "node 10.0.0.2 (worker) has torch 2.13.0 (here 2.14.1)",
            "ray up cluster.yaml",
        ),
        (
            replace(HERE, versions={"Python": "3.11.7", "torch": "2.14.1"}),
            "Equipoise's code missing (here 0123abcd)",
            "ray up cluster.yaml",
        ),
        (
            replace(HERE, missing=("/mnt/runs/.seen-1",)),
            "tracking.storage: /mnt/runs is not seen on node 10.0.0.2",
            "EQUIPOISE_STORAGE",
        ),
        (
            replace(HERE, missing=("/mnt/cache/prepared/0",)),
            "data.cache: /mnt/cache/prepared/0 is not seen on node 10.0.0.2",
            "EQUIPOISE_CACHE",
        ),
    ],
)
def test_a_node_that_differs_is_refused_with_the_cure(other: Sight, message: str, cure: str) -> None:
    with pytest.raises(UnfitNode) as error:
        check(other)
    assert message in error.value.message
    assert cure in error.value.hint
    assert error.value.exit_code == 5


def test_a_node_looks_for_files_and_tells_its_versions(tmp_path: Path) -> None:
    sight = look([str(tmp_path), str(tmp_path / "gone")])
    assert sight.missing == (str(tmp_path / "gone"),)
    assert sight.versions.keys() == {"Python", "Equipoise's code", "torch", "torchvision", "ray", "numpy"}
    assert "missing" not in sight.versions.values()
