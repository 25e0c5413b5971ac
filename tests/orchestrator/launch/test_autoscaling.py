"""What may come is read from what `ray up` leaves on the head, or from a variable."""

from pathlib import Path

import pytest

from orchestrator.errors import ClusterError
from orchestrator.launch import autoscaling
from orchestrator.launch.autoscaling import nodes_that_may_come
from orchestrator.machines.resources import NodeResources

HEAD, WORKER = NodeResources(cpus=0), NodeResources(cpus=8, gpus=1)
BOOTSTRAP = """
max_workers: 3
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}}
  gpu: {resources: {CPU: 8, GPU: 1}, max_workers: 2}
  big: {resources: {CPU: 64}}
"""


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(autoscaling, "BOOTSTRAP", tmp_path / "ray_bootstrap_config.yaml")
    monkeypatch.delenv(autoscaling.VARIABLE, raising=False)
    return tmp_path / "ray_bootstrap_config.yaml"


def test_nothing_comes_where_nothing_says_so(bootstrap: Path) -> None:
    assert nodes_that_may_come([HEAD]) == []


def test_a_cluster_that_starts_with_no_worker_counts_those_that_may_come(bootstrap: Path) -> None:
    bootstrap.write_text(BOOTSTRAP)
    assert nodes_that_may_come([HEAD]) == [WORKER, WORKER, NodeResources(cpus=64)]


def test_a_worker_that_is_there_does_not_come_again(bootstrap: Path) -> None:
    bootstrap.write_text(BOOTSTRAP)
    assert nodes_that_may_come([HEAD, WORKER]) == [WORKER, NodeResources(cpus=64)]
    assert nodes_that_may_come([HEAD, WORKER, WORKER, WORKER, WORKER]) == []


def test_machines_of_ones_own_have_no_resources_before_they_join(bootstrap: Path) -> None:
    bootstrap.write_text(
        "{max_workers: 1, head_node_type: local, available_node_types: {local: {resources: {}}}}"
    )
    assert nodes_that_may_come([HEAD]) == []


def test_a_variable_says_it_where_ray_up_does_not(bootstrap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(autoscaling.VARIABLE, '[{"count": 2, "cpus": 8, "gpus": 1}]')
    assert nodes_that_may_come([HEAD, WORKER]) == [WORKER]


@pytest.mark.parametrize("text", ["8", "[8]", "nodes", '[{"cpus": 8}]', '[{"count": 1, "cpus": "many"}]'])
def test_a_variable_that_is_not_understood_is_told_with_an_example(
    text: str, bootstrap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(autoscaling.VARIABLE, text)
    with pytest.raises(ClusterError) as error:
        nodes_that_may_come([HEAD])
    assert "EQUIPOISE_MAY_COME" in error.value.message
    assert '"count": 8' in error.value.hint
