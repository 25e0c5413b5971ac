"""Journals of searches that never ran, with all that a real one has: pruned and failed trials too."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.runs.journal import FILE_NAME, Event

START = 1_760_000_000.25


def spec(trials: int = 12, epochs: int = 4) -> dict[str, Any]:
    """A resolved experiment file."""
    return {
        "name": "digits-pair",
        "seed": 7,
        "data": {"source": "builtin:digits-pair", "image_size": None, "augment": "none"},
        "tasks": {
            "left": {"type": "multiclass", "label": "left", "metric": "accuracy"},
            "right": {"type": "multiclass", "label": "right", "metric": "accuracy"},
        },
        "model": {
            "backbone": {"name": "small_cnn", "width": 32},
            "weights": None,
            "heads": {"default": {"kind": "mlp", "hidden": [64], "dropout": 0.0}},
        },
        "balancing": {"method": "static", "weights": {"left": 1.0, "right": 1.0}},
        "training": {
            "epochs": epochs,
            "batch_size": 256,
            "optimizer": {"name": "adam", "lr": 1e-3, "weight_decay": 0.0},
            "schedule": {"name": "constant", "warmup": 0.0},
            "precision": "auto",
            "select": {"metric": "score", "mode": "max"},
        },
        "search": {
            "trials": trials,
            "sampler": "random",
            "objectives": ["left.accuracy", "right.accuracy"],
            "stop_early": None,
            "space": {
                "balancing.weights": {"simplex": ["left", "right"], "min": 0.05},
                "model.backbone.width": {"choice": [16, 32, 64]},
                "training.optimizer.lr": {"log": [1e-3, 1e-2]},
            },
        },
    }


def search_events(
    tracking_uri: str = "sqlite:////nowhere/mlflow.db",
    *,
    trials: int = 12,
    epochs: int = 4,
    seed: int = 0,
    kind: str = "search",
    end: bool = True,
) -> Iterator[Event]:
    """The events of one search on two slots, in the order of their times."""
    draw = random.Random(seed)
    whole = spec(trials, epochs)
    counts = {"train": 12_000, "val": 2_000, "test": 4_000}
    yield {
        "event": "search_started",
        "time": START,
        "kind": kind,
        "search_id": "digits-pair-001",
        "name": "digits-pair",
        "spec": whole,
        "spec_text": "name: digits-pair\n",
        "objectives": whole["search"]["objectives"],
        "searched": [
            "balancing.weights.left",
            "balancing.weights.right",
            "model.backbone.width",
            "training.optimizer.lr",
        ],
        "data": {
            "digest": "0123456789abcdef" * 4,
            "image": [1, 12, 12],
            "splits": counts,
            "labels": {"left": counts, "right": counts},
        },
        "slots": {"slots": 2, "workers": 1 if kind == "train" else 2, "cpus": 1, "gpus": 0},
        "tracking_uri": tracking_uri,
        "versions": {"torch": "2.14.1"},
        "git": "c0ffee+",
        "user": "ada",
    }
    events: list[Event] = []
    free = [START + 5.0, START + 5.1]
    for number in range(trials):
        slot = free.index(min(free))
        free[slot] = _trial_events(events, number, free[slot], draw, whole, epochs)
    last = START
    for event in sorted(events, key=lambda event: float(event["time"])):
        last = event["time"]
        yield event
    if end:
        yield {
            "event": "search_ended",
            "time": last + 0.1,
            "status": "completed",
            "pareto": [],
            "hypervolume": 0.5,
            "reference": {"left.accuracy": 0.0, "right.accuracy": 0.0},
            "seconds": last + 0.1 - START,
        }


def costs(width: int) -> dict[str, float]:
    """Of a small CNN of this width."""
    return {
        "model.parameters": 1250.0 + 165 * width,
        "model.flops": 20_000.0 + 300 * width,
        "model.latency_ms": 0.25,
    }


def _trial_events(
    events: list[Event], number: int, time: float, draw: random.Random, whole: dict[str, Any], epochs: int
) -> float:
    trial = f"t{number:03d}"
    weight, width, lr = draw.uniform(0.05, 0.95), draw.choice([16, 32, 64]), 10 ** draw.uniform(-3, -2)
    resolved = json.loads(
        json.dumps({key: whole[key] for key in ("seed", "data", "tasks", "model", "training")})
    )
    resolved["balancing"] = {"method": "static", "weights": {"left": weight, "right": 1 - weight}}
    resolved["model"]["backbone"]["width"] = width
    resolved["training"]["optimizer"]["lr"] = lr
    config = {
        "balancing.weights": {"left": weight, "right": 1 - weight},
        "model.backbone.width": width,
        "training.optimizer.lr": lr,
    }
    events.append(
        {
            "event": "trial_started",
            "time": time,
            "trial": trial,
            "number": number,
            "config": config,
            "resolved": resolved,
        }
    )
    status = {3: "pruned", 7: "failed"}.get(number, "completed")
    done = {"pruned": 1, "failed": 0}.get(status, epochs)
    began, metrics = time, {}
    for epoch in range(1, done + 1):
        time += 0.2
        left = (weight**0.4) * (1 - 0.4**epoch) * (0.7 + width / 256)
        right = ((1 - weight) ** 0.4) * (1 - 0.4**epoch) * (0.7 + width / 256)
        metrics = {
            "left.accuracy": left,
            "left.loss": 1.5 - left,
            "right.accuracy": right,
            "right.loss": 1.5 - right,
            "score": (left + right) / 2,
        }
        training = {
            "left.train_loss": 1.4 - left,
            "left.weight": weight,
            "left.labels_seen": 12_000.0,
            "right.train_loss": 1.4 - right,
            "right.weight": 1 - weight,
            "right.labels_seen": 12_000.0,
            "lr": lr,
            "images_per_second": 60_000.0,
            "conflict.left:right": -0.2,
            **({"fallbacks": 3.0} if trial == "t001" and epoch < 3 else {}),
        }
        report = {
            "epoch": epoch,
            "metrics": metrics,
            "training": training,
            "seconds": 0.19,
            "best": True,
            "finished": epoch == epochs,
            "costs": costs(width),
        }
        events.append({"event": "epoch", "time": time, "trial": trial, "report": report})
    reasons = {
        "pruned": "stopped after epoch 1: others did better",
        "failed": "loss of task right is nan at step 12",
    }
    time += 0.05
    events.append(
        {
            "event": "trial_ended",
            "time": time,
            "trial": trial,
            "status": status,
            "reason": reasons.get(status, ""),
            "epochs": done,
            "best_epoch": done,
            "metrics": metrics | (costs(width) if done else {}),
            "seconds": time - began,
            "train_seconds": 0.19 * done,
            "start_seconds": 0.01,
        }
    )
    return time


def write_journal(directory: Path, events: list[Event]) -> Path:
    """Write a whole journal; returns its folder."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(event) + "\n" for event in events]
    (directory / FILE_NAME).write_text("".join(lines))
    return directory
