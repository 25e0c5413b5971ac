"""Several workers per trial: what a warm group costs between trials, and what it gives within them.

    python -m benchmarks.cluster [--repeats 3] [--backbone small_cnn] [--trials 6]

Trials of digits-pair on two cores, by turns with one worker of two threads and with two workers of one thread, at the
same global batch. Read from the journals: images per second of an epoch (the first one of each trial left out), and the
time from a trial's end to the next one's first step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.folders import own_folder

EXPERIMENT = """
name: workers
data: {{source: "builtin:digits-pair"}}
tasks: {{left: {{type: multiclass, label: left}}, right: {{type: multiclass, label: right}}}}
model: {{backbone: {backbone}}}
training: {{epochs: 3, batch_size: 512, optimizer: {{name: adam, lr: 3e-3}}, precision: fp32}}
search:
  trials: {trials}
  sampler: random
  space: {{training.optimizer.lr: {{log: [1e-3, 1e-2]}}}}
"""
BACKBONES = {
    "small_cnn": "{name: small_cnn, width: 64}",
    "small_resnet": "{name: small_resnet, blocks: 2, width: 38}",  # a million parameters
    "resnet18": "resnet18",
}
SIDES = {
    "1 worker × 2 threads": ("compute.workers=1", "compute.per_worker.cpu=2"),
    "2 workers × 1 thread": ("compute.workers=2", "compute.per_worker.cpu=1"),
}

LEAST_SPEED, LONGEST_GAP = 0.85, 0.15
"""Limits: a speed relative to the other side's, and seconds."""


def measure(backbone: str, trials: int, changes: tuple[str, ...]) -> dict[str, float]:
    """One search. Images per second, median over epochs; seconds between trials, median."""
    with own_folder() as folder:
        (folder / "experiment.yaml").write_text(
            EXPERIMENT.format(backbone=BACKBONES[backbone], trials=trials)
        )
        options = [part for change in changes for part in ("-s", change)]
        command = [sys.executable, "-m", "orchestrator", "search", "experiment.yaml", "--json"]
        subprocess.run(
            [*command, *options, "-s", "compute.slots=1"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            check=True,
            capture_output=True,
        )
        lines = (folder / "equipoise_runs" / "workers-001" / "journal.jsonl").read_text().splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    epochs = [event["report"] for event in events if event["event"] == "epoch"]
    warm = [report for report in epochs if report["epoch"] > 1]
    ends = [event for event in events if event["event"] == "trial_ended"]
    return {
        "images_per_second": statistics.median(report["training"]["images_per_second"] for report in warm),
        "seconds_between_trials": statistics.median(event["start_seconds"] for event in ends[1:]),
    }


def main() -> int:
    """Run it; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", choices=list(BACKBONES), default="small_cnn")
    parser.add_argument("--trials", type=int, default=6, help="per turn: fewer of a large model")
    options = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for repeat in range(options.repeats):
        for side, changes in SIDES.items():
            results[side].append(measured := measure(options.backbone, options.trials, changes))
            told = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
            print(f"run {repeat + 1}, {side}: {told}", flush=True)
    one, two = (results[side] for side in SIDES)
    speeds = [statistics.median(measured["images_per_second"] for measured in side) for side in (one, two)]
    turns = sorted(t["images_per_second"] / o["images_per_second"] for o, t in zip(one, two, strict=True))
    gap = statistics.median(measured["seconds_between_trials"] for measured in two)
    print(
        f"\nthroughput, 2 workers : 1 worker with 2 threads  {speeds[1] / speeds[0]:.2f} (at least {LEAST_SPEED}; "
        f"{turns[0]:.2f} to {turns[-1]:.2f} turn by turn)"
    )
    print(f"from trial to trial with 2 workers  {gap:.3f} s (at most {LONGEST_GAP} s)")
    return int(speeds[1] / speeds[0] < LEAST_SPEED or gap > LONGEST_GAP)


if __name__ == "__main__":
    raise SystemExit(main())
