"""Where a run comes from: code, data and config, as MLflow shows them."""

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from orchestrator.runs.journal import Event
from orchestrator.tracking import scheme


def origin_tags(start: Event) -> dict[str, str]:
    """Tags that say where a run comes from, in MLflow's own words where it has them."""
    commit = start.get("git") or ""
    tags = {
        f"{scheme.TAG}data_digest": (start.get("data") or {}).get("digest"),
        f"{scheme.TAG}versions": json.dumps(start.get("versions") or {}, separators=(",", ":")),
        "mlflow.user": start.get("user"),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "equipoise",
        "mlflow.source.git.commit": commit.removesuffix("+"),
        "mlflow.source.git.dirty": str(commit.endswith("+")).lower() if commit else None,
    }
    return {key: str(value) for key, value in tags.items() if value}


def datasets_of(start: Event) -> dict[str, dict[str, Any]]:
    """MLflow's context (training, validation, test) to what a run that began with `start` read there."""
    data, spec = start.get("data") or {}, start.get("spec") or {}
    if not data.get("digest"):
        return {}
    described = spec.get("data") or {}
    several = {own["name"]: own["source"] for own in described.get("sources") or ()}
    source = several or described.get("source", "")
    source = source if isinstance(source, str) else json.dumps(source)
    name = "+".join(several) or source.rpartition("/")[2]
    contexts = {"train": "training", "val": "validation", "test": "test"}
    return {
        contexts.get(split, split): {
            "name": name[:400] or "data",
            "digest": f"{data['digest'][:24]}-{split}",
            "source": source,
            "profile": {
                "images": images,
                "labels": {
                    task: by_split.get(split) for task, by_split in (data.get("labels") or {}).items()
                },
                **_by_source(data, split),
            },
        }
        for split, images in (data.get("splits") or {}).items()
    }


def _by_source(data: Mapping[str, Any], split: str) -> dict[str, dict[str, int]]:
    """Images of a split by source, where there are several."""
    sources = data.get("sources") or {}
    return {"sources": {name: splits[split] for name, splits in sources.items()}} if sources else {}


def settled(start: Event) -> dict[str, Any]:
    """What the config leaves open and the run's beginning settles: the images' own size, workers per trial."""
    found = {"compute.workers": (start.get("slots") or {}).get("workers", 1)}
    if image := (start.get("data") or {}).get("image"):
        _, height, width = image
        found["data.image_size"] = height if height == width else [height, width]
    return found


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """Equal for equal configs."""
    text = json.dumps(resolved, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def yaml_text(value: Mapping[str, Any]) -> str:
    """In the order of its keys."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()
