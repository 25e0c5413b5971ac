"""What a search is called in MLflow: run names, parameters, metrics and tags.

Parameters use the experiment file's own dotted keys. A metric's section in MLflow is what stands before its
last slash, so every task has a section of its own, `overall/` holds what concerns all, and `best/` the
trade-off: one value per run at step 0, all of the selected epoch.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.report.formats import group_value, shortened, weight_groups
from orchestrator.report.search_log import flat

TAG = "equipoise."
"""Before all tags of our own."""
FOLDER = f"{TAG}folder"
"""Tag of a trial: the folder of its checkpoints, on the machine or shared disk where it ran."""
PARETO_COLOR, OTHER_COLOR, SEARCH_COLOR = "#ff7f0e", "#a9b0b8", "#26323f"
MAX_PARAMS = 40
MAX_TASKS_APART = 6
"""With more tasks their heads are not listed one by one."""
STATUS = {"completed": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED", "failed": "FAILED"}
"""MLflow's status of a run by ours: what was stopped on purpose is KILLED and says why in a tag."""
REASONS = {"interrupted": "it was interrupted", "failed": "it could not go on"}
"""Why a search ended before its last trial, by its status."""
_FIXED_PARAMS = (
    "balancing.method",
    "balancing.gradients",
    "model.backbone.name",
    "model.weights",
    "model.sharing.kind",
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
    measured = {f"best/{name}": value for name, value in metrics.items() if not name.startswith("model.")}
    return {**measured, "best/epoch": float(epoch)}


def metrics_of_costs(costs: Mapping[str, float]) -> dict[str, float]:
    """What a trial's model costs, for step 0: millions of parameters and of operations, milliseconds."""
    names = {
        "model.parameters": ("best/params_m", 1e-6),
        "model.flops": ("best/flops_m", 1e-6),
        "model.latency_ms": ("best/latency_ms", 1.0),
    }
    return {names[name][0]: value * names[name][1] for name, value in costs.items()}


def params_of_trial(
    resolved: Mapping[str, Any], searched: Iterable[str], found: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """At most 40 effective values of a trial, under the same keys in every trial of a search.

    Args:
        resolved: the whole TrialConfig.
        searched: dotted keys that may vary within the search; they come first.
        found: effective values that the config leaves open, by dotted key.

    A key that a trial does not have (an unmet condition, an argument of another backbone) is "none": MLflow's
    parallel coordinates drop every run that lacks a chosen key.
    """
    tasks = list(resolved.get("tasks") or {})
    searched = list(searched)
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
            head = heads.get(task) or heads.get("default") or {"kind": "linear"}
            hidden = head.get("hidden", [])
            is_linear = head["kind"] == "mlp" and not hidden
            effective[f"model.heads.{task}.kind"] = "linear" if is_linear else head["kind"]
            effective[f"model.heads.{task}.hidden"] = hidden
    if (resolved.get("data") or {}).get("sources"):
        effective["data.mixing"] = _at(resolved, "data.mixing")
    # A choice of `null` and mappings (sharpness-aware steps or none) is a value of the key itself.
    effective |= {key: _at(resolved, key) for key in searched if key not in values and key not in effective}
    keys = dict.fromkeys([*searched, *_FIXED_PARAMS, *found, *effective])
    return {key: _text(effective.get(key, values.get(key))) for key in list(keys)[:MAX_PARAMS]}


def _at(resolved: Mapping[str, Any], key: str) -> Any:
    """What stands at a dotted key, or None."""
    found: Any = resolved
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def search_tags() -> dict[str, str]:
    """Tags that put the search's own run before its trials where views sort by place."""
    return {f"{TAG}place": "0 search", "mlflow.runColor": SEARCH_COLOR}


def place_tags(*, pareto: bool) -> dict[str, str]:
    """Tags of a trial on or off the Pareto set, and the colour it has in charts."""
    return {
        f"{TAG}pareto": "true" if pareto else "false",
        f"{TAG}place": "1 Pareto set" if pareto else "2 other",
        "mlflow.runColor": PARETO_COLOR if pareto else OTHER_COLOR,
    }


def run_name(trial: str, config: Mapping[str, Any]) -> str:
    """`t017 weights 0.30:0.70 width 32 lr 0.00314`: the trial and, briefly, what was searched; columns are narrow."""
    groups = weight_groups(config).items()
    said = [f"{header.partition(' ')[0]} {group_value(config, keys)}" for header, keys in groups]
    return shortened(" ".join([trial, *said]), _LONGEST_NAME)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return value or "none"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
