"""What Kubernetes and KubeRay would refuse of a document, by their schemas."""

import functools
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from kubernetes_validate.utils import latest_version
from referencing import Registry, Resource
from ruamel.yaml import YAML

KUBERAY = Path(__file__).with_name("kuberay.yaml")
KINDS = {
    ("ray.io/v1", "RayCluster"): "https://ray.io/v1#/$defs/RayCluster",
    ("ray.io/v1", "RayJob"): "https://ray.io/v1#/$defs/RayJob",
    ("v1", "PersistentVolumeClaim"): (
        "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.api.core.v1.PersistentVolumeClaim"
    ),
}
# Kubernetes' schema takes any text for an amount; its server does not.
QUANTITY = {
    "type": ["string", "number"],
    "pattern": r"^[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$",
}


def documents(file: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file, anchors resolved."""
    return list(YAML(typ="safe").load_all(file))


def problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with a document, each as `where: what`; unknown fields are."""
    kind = (document["apiVersion"], document["kind"])
    if kind not in KINDS:
        return [f"$: no schema for {kind}"]
    validator = Draft202012Validator({"$ref": KINDS[kind]}, registry=_registry())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@functools.cache
def _registry() -> Registry[Any]:
    folder = f"kubernetes-json-schema/v{latest_version()}-local-strict"
    kubernetes = json.loads((files("kubernetes_validate") / folder / "_definitions.json").read_text())
    kubernetes["$defs"]["io.k8s.apimachinery.pkg.api.resource.Quantity"] = QUANTITY
    (kuberay,) = documents(KUBERAY)
    resources = [Resource.from_contents(schema) for schema in (kubernetes, kuberay)]
    registry: Registry[Any] = Registry().with_resources([(str(each.id()), each) for each in resources])
    return registry.crawl()
