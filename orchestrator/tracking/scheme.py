"""What a search is called in MLflow: run names, parameters, metrics and tags.

Parameters use the experiment file's own dotted keys. A metric's section in MLflow is what stands before its
last slash, so every task has a section of its own, `overall/` holds what concerns all, and `best/` the
trade-off: one value per run at step 0, all of the selected epoch.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.report.formats import brief, shortened
from orchestrator.report.records import flat

TAG = "equipoise."
"""Before all tags of our own."""
PARETO_COLOR, OTHER_COLOR = "#ff7f0e", "#a9b0b8"
MAX_PARAMS = 40
MAX_TASKS_APART = 6
"""With more tasks their heads are not listed one by one."""
STATUS = {"completed": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED", "failed": "FAILED"}
"""MLflow's status of a run by ours: what was stopped on purpose is KILLED and says why in a tag."""
_FIXED_PARAMS = (
    "balancing.method",
    "balancing.gradients",
    "model.backbone.name",
    "model.weights",
    "training.optimizer.name",
    "training.optimizer.lr",
    "training.optimizer.weight_decay",
    "training.schedule.name",
    "training.epochs",
    "training.batch_size",
    "training.precision",
    "data.image_size",
    "data.augment",
    "seed",
)
_LONGEST_NAME = 60


def metrics_of_epoch(report: Mapping[str, Any]) -> dict[str, float]:
    """MLflow metrics of an EpochReport (as a dictionary)."""
    metrics = {}
    for key, value in report["metrics"].items():
        task, _, name = key.rpartition(".")
        metrics[f"{task}/val_{name}" if task else f"overall/{name}"] = value
    for key, value in report["training"].items():
        task, _, name = key.rpartition(".")
        name = {"images_per_second": "images_per_s"}.get(name, name)
        metrics[f"{task}/{name}" if task else f"overall/{name}"] = value
    return metrics


def metrics_of_best(metrics: Mapping[str, float], epoch: int | None) -> dict[str, float]:
    """What stands for the whole run: the metrics of the selected epoch, for step 0."""
    if epoch is None:
        return {}
    return {**{f"best/{name}": value for name, value in metrics.items()}, "best/epoch": float(epoch)}


def params_of_trial(
    resolved: Mapping[str, Any], searched: Iterable[str], found: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """At most 40 effective values of a trial, under the same keys in every trial of a search.

    Args:
        resolved: the whole TrialConfig.
        searched: dotted keys that vary within the search; they come first.
        found: effective values that the config leaves open, by dotted key.

    A key that a trial does not have (an unmet condition, an argument of another backbone) is "none": MLflow's
    parallel coordinates drop every run that lacks a chosen key.
    """
    tasks = list(resolved.get("tasks") or {})
    found = found or {}
    values = flat(resolved)
    values |= {key: value for key, value in found.items() if values.get(key) is None}
    balancing = resolved.get("balancing") or {}
    weights = balancing.get("weights") or {}
    fixed = balancing.get("method") in ("static", "equal")  # the others' are metrics, epoch by epoch
    effective = {f"balancing.weights.{task}": weights.get(task, 1.0) if fixed else None for task in tasks}
    heads = (resolved.get("model") or {}).get("heads") or {}
    if len(tasks) <= MAX_TASKS_APART:
        for task in tasks:
            head = heads.get(task) or heads.get("default") or {"kind": "linear", "hidden": []}
            effective[f"model.heads.{task}.kind"] = head["kind"] if head["hidden"] else "linear"
            effective[f"model.heads.{task}.hidden"] = head["hidden"]
    keys = dict.fromkeys([*searched, *_FIXED_PARAMS, *found, *effective])
    return {key: _text(effective.get(key, values.get(key))) for key in list(keys)[:MAX_PARAMS]}


def searched_keys(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Dotted keys of the search space; a simplex is spelt out, named spaces are what the trial got."""
    space = (spec.get("search") or {}).get("space") or {}
    named = [
        key
        for key in space
        if isinstance(space, Mapping) and not any(k.startswith(f"{key}.") for k in config)
    ]
    return list(dict.fromkeys([*named, *config]))


def run_name(trial: str, config: Mapping[str, Any]) -> str:
    """`t017 weights left:right 0.30:0.70, width 32, lr 0.00314`: the trial and, briefly, what was searched."""
    return shortened(f"{trial} {brief(config)}".rstrip(), _LONGEST_NAME)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return value or "none"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
