"""The whole search, against what people use.

    python -m benchmarks.search [--repeats 3] [--without ray_pattern]

24 trials × 5 epochs of digits-pair on two cores: Equipoise, Optuna with a bare two-process loop, plain Ray Tune
functions, and Ray's documented Tune + Train pattern (few trials of it: each costs 10 s). Contenders take turns
within one run, each in a fresh folder and fresh processes, and log to MLflow on SQLite.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.folders import own_folder

REPOSITORY = Path(__file__).resolve().parent.parent
TRIALS = 24
PATTERN_TRIALS = 6


def equipoise(folder: Path) -> dict[str, float]:
    """The command as a user types it; its parts are read from the journal."""
    began = time.time()
    command = [
        str(Path(sys.executable).with_name("equipoise")),
        "search",
        str(REPOSITORY / "orchestrator/demo.yaml"),
    ]
    overrides = [
        f"search.trials={TRIALS}",
        "search.sampler=random",
        "compute.slots=2",
        "training.precision=fp32",
    ]
    options = [part for override in overrides for part in ("-s", override)]
    ended = _run([*command, *options, "--json"], folder)
    seconds = time.time() - began
    search = json.loads(ended.splitlines()[-1])
    events = _journal(folder / "equipoise_runs" / search["search_id"])
    epochs = [event for event in events if event["event"] == "epoch"]
    first_step = min(
        event["time"] - event["report"]["seconds"] for event in epochs if event["report"]["epoch"] == 1
    )
    ends = [event for event in events if event["event"] == "trial_ended"]
    training = sum(event["train_seconds"] for event in ends)
    gaps = sorted(event["start_seconds"] for event in ends)[:-2]  # the two slots' first trials start cold
    start_up = first_step - began
    return {
        "seconds": seconds,
        "trials_per_minute": 60 * len(ends) / seconds,
        "training": training / 2,
        "start_up": start_up,
        "gap": statistics.median(gaps),
        "limit": start_up + 1.07 * training / 2,
    }


def optuna_loop(folder: Path) -> dict[str, float]:
    """Optuna, two processes, bare PyTorch."""
    began = time.time()
    printed = _run([sys.executable, "-m", "benchmarks.peers.optuna_loop", str(folder)], folder)
    seconds = time.time() - began
    training = re.search(r"training ([\d.]+) s", printed)
    return {
        "seconds": seconds,
        "trials_per_minute": 60 * TRIALS / seconds,
        "training": float(training.group(1)) if training else float("nan"),
    }


def tune_functions(folder: Path) -> dict[str, float]:
    """Plain Ray Tune functions, a process per trial."""
    began = time.time()
    _run([sys.executable, "-m", "benchmarks.peers.tune_functions", str(folder)], folder)
    seconds = time.time() - began
    return {"seconds": seconds, "trials_per_minute": 60 * TRIALS / seconds}


def ray_pattern(folder: Path) -> dict[str, float]:
    """Ray's documented pattern."""
    began = time.time()
    _run([sys.executable, "-m", "benchmarks.peers.ray_pattern", str(folder), str(PATTERN_TRIALS)], folder)
    seconds = time.time() - began
    return {"seconds": seconds, "trials_per_minute": 60 * PATTERN_TRIALS / seconds}


CONTENDERS = {
    "equipoise": equipoise,
    "optuna_loop": optuna_loop,
    "tune_functions": tune_functions,
    "ray_pattern": ray_pattern,
}


def main() -> int:
    """Run it; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without", action="append", default=[], choices=list(CONTENDERS))
    options = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {
        name: [] for name in CONTENDERS if name not in options.without
    }
    for repeat in range(options.repeats):
        for name, measured in results.items():
            with own_folder() as folder:
                measured.append(CONTENDERS[name](folder))
            print(f"run {repeat + 1}, {name}: {_text(measured[-1])}", flush=True)
    print()
    medians = {name: _medians(measured) for name, measured in results.items()}
    for name, values in medians.items():
        print(f"median, {name}: {_text(values)}")
    ours = medians["equipoise"]
    print()
    met = [
        _met("command typed to first step, s", ours["start_up"], at_most=7.0),
        _met("one trial's end to the next one's first step, s", ours["gap"], at_most=0.15),
        _met("whole search, s", ours["seconds"], at_most=ours["limit"]),
    ]
    for name, at_least in {"optuna_loop": 0.9, "tune_functions": 1.0, "ray_pattern": 8.0}.items():
        if name in medians:
            ratio = ours["trials_per_minute"] / medians[name]["trials_per_minute"]
            met.append(_met(f"trials per minute against {name}, times", ratio, at_least=at_least))
    return 0 if all(met) else 1


def _met(what: str, value: float, *, at_most: float = float("inf"), at_least: float = 0.0) -> bool:
    limit = f"at least {at_least:g}" if at_least else f"at most {at_most:.3g}"
    met = at_least <= value <= at_most
    print(f"{'met   ' if met else 'MISSED'}  {what}: {value:.3g} ({limit})")
    return met


def _run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "stdout").open("w+") as out, (folder / "stderr").open("w+") as err:
        # Into files: a pipe would be read until Ray's last process has let go of it.
        code = subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=err).returncode
    printed = (folder / "stdout").read_text()
    if code != 0:
        sys.exit(
            f"{' '.join(command)} ended with {code}:\n{printed[-2000:]}\n{(folder / 'stderr').read_text()[-4000:]}"
        )
    return printed


def _journal(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "journal.jsonl").read_text().splitlines()]


def _medians(measured: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(values[key] for values in measured) for key in measured[0]}


def _text(values: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.3g}" for key, value in values.items())


if __name__ == "__main__":
    raise SystemExit(main())
