"""Balancing methods on Multi-Fashion: which can be told apart?

    python -m benchmarks.multifashion --results results.jsonl [--images DIR] [--seeds 3] [--epochs 20] [--processes 2]
    python -m benchmarks.multifashion --results results.jsonl --table

LeNet (Sener & Koltun, NeurIPS 2018), Adam 1e-3 with a cosine to zero, batch 256, the same for all methods;
task-specific heads of one hidden layer. The epoch is chosen on validation (mean accuracy), accuracy is of
the test split. Every finished run is a line of `--results`; runs that are there already are not repeated, so
the command may be stopped and started again. Hours on two cores.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.fashion_pairs import FOLDER, fashion_pairs
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData
from trainables.training.evaluate import collect_logits
from trainables.training.trainer import Trainer
from trainables.training.world import World

T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}
"""Student's quantile for a 95 % interval, by number of runs."""
METHODS: dict[str, dict[str, Any]] = {
    "single task, left": {"method": "equal"},
    "single task, right": {"method": "equal"},
    "equal": {"method": "equal"},
    "uncertainty": {"method": "uncertainty"},
    "mgda": {"method": "mgda"},
    "pcgrad": {"method": "pcgrad"},
    "cagrad": {"method": "cagrad"},
    "imtl_g": {"method": "imtl_g"},
    "nash_mtl": {"method": "nash_mtl"},
    "famo": {"method": "famo"},
}
_data: PreparedData | None = None


def tasks_of(name: str) -> list[str]:
    """Which tasks a row of the table trains."""
    return [name.rpartition(" ")[2]] if name.startswith("single") else ["left", "right"]


def config_of(name: str, seed: int, epochs: int) -> TrialConfig:
    """The trial of one row and seed."""
    return TrialConfig.model_validate(
        {
            "seed": seed,
            "data": {"source": "fashion-pairs"},
            "tasks": {task: {"type": "multiclass", "label": task} for task in tasks_of(name)},
            "model": {
                "backbone": {"name": "lenet", "width": 50},
                "heads": {"default": {"kind": "mlp", "hidden": [50]}},
            },
            "balancing": METHODS[name],
            "training": {
                "epochs": epochs,
                "batch_size": 256,
                "optimizer": {"name": "adam", "lr": 1e-3},
                "schedule": {"name": "cosine"},
                "precision": "fp32",
            },
        }
    )


def run(name: str, seed: int, epochs: int) -> dict[str, Any]:
    """Train one row with one seed: its test accuracies at the epoch that validation chose."""
    if _data is None:
        raise RuntimeError("the data are made before processes are forked")
    torch.set_num_threads(1)
    trainer = Trainer(config_of(name, seed, epochs), _data, World.single())
    fallbacks, seconds = 0.0, []
    for _ in range(epochs):
        began = time.process_time()
        fallbacks += trainer.run_epoch().training.get("fallbacks", 0.0)
        seconds.append(time.process_time() - began)
    best = trainer.best_state()
    trainer.model.load_state_dict(best.tensors)
    rows = torch.from_numpy(_data.splits["test"])
    logits = collect_logits(trainer.model, trainer._images, rows, World.single(), trainer.precision, 512)
    accuracy = {}
    for task in tasks_of(name):
        wanted = torch.from_numpy(_data.labels[task].values)[rows]
        accuracy[task] = (logits[task].argmax(1) == wanted).double().mean().item()
    return {
        "name": name,
        "seed": seed,
        "epochs": epochs,
        "epoch": best.meta["epoch"],
        "accuracy": accuracy,
        "cpu_seconds_per_epoch": statistics.median(seconds),
        "fallbacks": fallbacks,
        "digest": _data.digest,
    }


def finished(path: Path) -> list[dict[str, Any]]:
    """The runs of a results file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def interval(values: list[float]) -> str:
    """Mean ± half of the 95 % interval, in percent."""
    if len(values) < 2:
        return f"{100 * values[0]:.2f}"
    half = T_95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{100 * statistics.mean(values):.2f} ± {100 * half:.2f}"


def print_table(runs: list[dict[str, Any]]) -> None:
    """Accuracies with intervals, and CPU time per epoch relative to equal weights."""
    base = statistics.median([r["cpu_seconds_per_epoch"] for r in runs if r["name"] == "equal"] or [math.nan])
    print("| method | runs | left, % | right, % | mean, % | CPU time of an epoch |")
    print("|---|---|---|---|---|---|")
    for name in METHODS:
        own = [r for r in runs if r["name"] == name]
        if not own:
            continue
        columns = [
            interval([r["accuracy"][task] for r in own]) if task in own[0]["accuracy"] else ""
            for task in ("left", "right")
        ]
        mean = interval([statistics.mean(r["accuracy"].values()) for r in own]) if all(columns) else ""
        seconds = statistics.median([r["cpu_seconds_per_epoch"] for r in own])
        cost = f"{seconds:.1f} s, {seconds / base:.2f} ×"
        print(f"| {name} | {len(own)} | {columns[0]} | {columns[1]} | {mean} | {cost} |")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--images", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print what is there and run nothing")
    options = parser.parse_args()
    done = finished(options.results)
    if not options.table:
        global _data
        _data = fashion_pairs(options.images)
        print(f"SHA-256 of images and labels: {_data.digest}")
        known = {(r["name"], r["seed"], r["epochs"], r["digest"]) for r in done}
        wanted = [
            (name, seed, options.epochs)
            for seed in range(options.seeds)
            for name in METHODS
            if (name, seed, options.epochs, _data.digest) not in known
        ]
        context = multiprocessing.get_context("fork")  # the processes share the images
        with context.Pool(options.processes) as pool, options.results.open("a") as file:
            for pending in [pool.apply_async(run, job) for job in wanted]:
                file.write(json.dumps(pending.get()) + "\n")
                file.flush()
        done = finished(options.results)
    print_table(done)


if __name__ == "__main__":
    main()
