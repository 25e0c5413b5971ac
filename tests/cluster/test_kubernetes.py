"""The files for Kubernetes: held to Kubernetes' and KubeRay's schemas, and to what a search needs."""

import copy
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.cluster.kubernetes import documents, problems

FOLDER = Path(__file__).parents[2] / "docs" / "clusters" / "kubernetes"
VOLUME, CLUSTER = documents(FOLDER / "raycluster.yaml")
(JOB,) = documents(FOLDER / "rayjob.yaml")
HEAD = "spec.headGroupSpec"
WORKERS = "spec.workerGroupSpecs.0"


@pytest.mark.parametrize("document", [VOLUME, CLUSTER, JOB], ids=lambda document: document["kind"])
def test_a_document_is_valid_for_its_schema(document: dict[str, Any]) -> None:
    assert problems(document) == []


def test_every_document_is_held_to_a_schema() -> None:
    assert len([each for file in FOLDER.glob("*.yaml") for each in documents(file)]) == 3


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `document` with `value` at a path of names and numbers."""
    new = copy.deepcopy(document)
    *parents, last = path.split(".")
    place: Any = new
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return new


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        # a misspelt name at each level
        (VOLUME, "spec.accesModes", ["ReadWriteMany"]),
        (CLUSTER, "metadata.lables", {}),
        (CLUSTER, "spec.authOption", {"mode": "token"}),
        (CLUSTER, "spec.authOptions.modes", "token"),
        (CLUSTER, "spec.autoscalerOptions.idleTimeout", 600),
        (CLUSTER, f"{HEAD}.templates", {}),
        (CLUSTER, f"{HEAD}.template.specs", {}),
        (CLUSTER, f"{HEAD}.template.spec.volume", []),
        (CLUSTER, f"{HEAD}.template.spec.containers.0.environment", []),
        (CLUSTER, f"{HEAD}.template.spec.containers.0.resources.limit", {}),
        (CLUSTER, f"{HEAD}.template.spec.containers.0.volumeMounts.0.path", "/mnt"),
        (CLUSTER, f"{HEAD}.template.spec.volumes.1.emptyDir.size", "2Gi"),
        (CLUSTER, f"{WORKERS}.maxReplica", 8),
        (CLUSTER, f"{WORKERS}.template.spec.restartpolicy", "Never"),
        (JOB, "spec.entryPoint", "true"),
        (JOB, "spec.rayClusterSpec.authOption", {"mode": "token"}),
        # a wrong value
        (VOLUME, "spec.accessModes", "ReadWriteMany"),
        (VOLUME, "spec.resources.requests.storage", "200 GB"),
        (CLUSTER, "apiVersion", "ray.io/v1alpha1"),
        (CLUSTER, "spec.authOptions.mode", "basic"),
        (CLUSTER, "spec.autoscalerOptions.version", "v3"),
        (CLUSTER, f"{HEAD}.rayStartParams.num-cpus", 0),
        (CLUSTER, f"{HEAD}.template.spec.containers.0.resources.limits.memory", "8GB"),
        (CLUSTER, f"{WORKERS}.minReplicas", "0"),
        (JOB, "spec.submissionMode", "K8SJobMode"),
        # what KubeRay's operator refuses besides
        (CLUSTER, "metadata.name", "Equipoise"),
        (CLUSTER, "metadata.name", "e" * 54),
        (JOB, "metadata.name", "p" * 48),
        (CLUSTER, "spec.rayVersion", "2.51.0"),
        (CLUSTER, f"{HEAD}.template.spec.containers", []),
        (CLUSTER, f"{HEAD}.template.spec.restartPolicy", "Always"),
        (CLUSTER, f"{WORKERS}.template.spec.restartPolicy", "OnFailure"),
        (CLUSTER, f"{HEAD}.resources", {"CPU": "2"}),
        (CLUSTER, f"{WORKERS}.rayStartParams.labels", "a=b"),
        (JOB, "spec.shutdownAfterJobFinishes", False),
        (JOB, "spec.backoffLimit", -1),
        (JOB, "spec.activeDeadlineSeconds", 0),
    ],
    ids=lambda part: part["kind"] if isinstance(part, dict) and "kind" in part else None,
)
def test_what_is_wrong_is_refused(document: dict[str, Any], path: str, value: Any) -> None:
    assert problems(changed(document, path, value))


def test_a_token_needs_the_version_of_ray() -> None:
    without = copy.deepcopy(CLUSTER)
    del without["spec"]["rayVersion"]
    assert problems(without) == ["$.spec: 'rayVersion' is a required property"]


def test_a_job_runs_a_search() -> None:
    assert JOB["spec"]["entrypoint"].endswith("equipoise search /experiment/experiment.yaml -n 40")


@pytest.mark.parametrize(
    "spec", [CLUSTER["spec"], JOB["spec"]["rayClusterSpec"]], ids=["RayCluster", "RayJob"]
)
def test_a_cluster_has_a_token_shared_storage_and_shared_memory(spec: dict[str, Any]) -> None:
    assert spec["authOptions"] == {"mode": "token"}
    assert ray.__version__ == spec["rayVersion"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
        assert mounts["shm"] == "/dev/shm"
        assert mounts["storage"] == "/mnt/equipoise"
        assert container["resources"]["limits"] == container["resources"]["requests"]
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
