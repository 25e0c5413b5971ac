"""What tracking adds to a trial: the same search with MLflow's writer and without it, by turns.

    python -m benchmarks.tracking_share [--turns 3] [--trials 16] [--epochs 8] [--size 32]

Real trials of 14 numbers an epoch, two at a time, so that on two cores the writer takes from training whatever it
takes. Choose `--size`, of the images, so that an epoch takes about a second. "Without" nobody reads the journal;
written it is on both sides, since nothing could be resumed without it, and each entry is timed in the process that
schedules. A trial's seconds are those from its first step to its end. Pictures and models are made from a search's
second minute on, so that 16 trials see them too.

A trial's seconds vary from turn to turn by more than the limit, so the CPU time of the writer is shown as well, once it
has started (until the first trial ends): on cores that are all in use, training misses about that.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from benchmarks.folders import own_folder
from orchestrator.experiment import run_search
from orchestrator.runs.journal import Event, Journal
from orchestrator.spec import load_spec
from orchestrator.tracking.process import WriterProcess, WriterStatus, start_writer
from orchestrator.tracking.state import TrackingState

ALLOWED_RATIO, ALLOWED_BLOCK = 1.02, 0.05
"""A trial's seconds, of those without the writer; seconds that an entry may keep the scheduler waiting."""
EXPERIMENT = """
name: share
data: {{source: "builtin:digits-pair", image_size: {size}}}
tasks: {{left: {{type: multiclass, label: left}}, right: {{type: multiclass, label: right}}}}
model: {{backbone: {{name: small_cnn, width: 64}}}}
training: {{epochs: {epochs}, batch_size: 256, optimizer: {{name: adam, lr: 3e-3}}, precision: fp32}}
search:
  trials: {trials}
  sampler: random
  space: {{training.optimizer.lr: {{log: [1e-3, 1e-2]}}}}
compute: {{slots: 2, workers: 1}}
"""
SIDES = ("with", "without")


class Nobody:
    """Stands where the writer's process would be."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def finish(self, timeout: float) -> WriterStatus:
        """Nobody to wait for."""
        return WriterStatus(running=False, pending=0, error=None, state=TrackingState())


def search(side: str) -> dict[str, Any]:
    """Run the search of this folder; seconds of its trials, of its epochs and of its journal's entries."""
    entries: list[float] = []
    append = Journal.append

    def timed(journal: Journal, event: str, **fields: Any) -> Event:
        began = time.perf_counter()
        written = append(journal, event, **fields)
        entries.append(time.perf_counter() - began)
        return written

    writers: list[WriterProcess] = []
    used: list[float] = []

    def start(directory: Path) -> WriterProcess:
        writers.append(start_writer(directory))
        return writers[0]

    def look(event: Event) -> None:
        if event["event"] == "trial_ended" and writers:
            times = psutil.Process(writers[0].pid).cpu_times()
            used.append(times.user + times.system)

    with (
        patch.object(Journal, "append", timed),
        patch("orchestrator.runs.folder.start_writer", start if side == "with" else Nobody),
    ):
        run_search(load_spec(Path("experiment.yaml")), listeners=(look,))
    lines = Path("equipoise_runs/share-001/journal.jsonl").read_text().splitlines()
    events: list[Event] = [json.loads(line) for line in lines]
    ends = [event for event in events if event["event"] == "trial_ended"]
    return {
        "writer": used[-1] - used[0] if used else 0.0,
        "start": used[0] if used else 0.0,
        "rest": sum(event["seconds"] - event["start_seconds"] for event in ends[1:]),
        "trials": [event["seconds"] - event["start_seconds"] for event in ends],
        "epochs": [event["report"]["seconds"] for event in events if event["event"] == "epoch"],
        "entries": entries,
    }


def turn(side: str, experiment: str) -> dict[str, Any]:
    """One search, in a folder and a process of its own."""
    with own_folder() as folder:
        (folder / "experiment.yaml").write_text(experiment)
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        environment.pop("MLFLOW_TRACKING_URI", None)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.tracking_share", "--only", side],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> int:
    """Run it; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", type=int, default=32, help="pixels on a side")
    parser.add_argument("--only", choices=SIDES, help="run one search in this folder, which has its file")
    chosen = parser.parse_args()
    if chosen.only is not None:
        print(json.dumps(search(chosen.only)))
        return 0
    experiment = EXPERIMENT.format(size=chosen.size, epochs=chosen.epochs, trials=chosen.trials)
    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(chosen.turns):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            measured[side].append(found := turn(side, experiment))
            print(
                f"turn {number + 1}, {side}: a trial {statistics.median(found['trials']):.2f} s, "
                f"an epoch {statistics.median(found['epochs']):.2f} s",
                flush=True,
            )
    trials = {side: [statistics.median(found["trials"]) for found in measured[side]] for side in SIDES}
    ratio = statistics.median(trials["with"]) / statistics.median(trials["without"])
    ratios = sorted(tracked / bare for tracked, bare in zip(trials["with"], trials["without"], strict=True))
    entries = [seconds for found in measured["with"] for seconds in found["entries"]]
    taken = statistics.median(found["writer"] / found["rest"] for found in measured["with"])
    to_start = statistics.median(found["start"] for found in measured["with"])
    print(
        f"the writer's CPU time: {to_start:.1f} s to start, then "
        f"{taken:.2%} of the trials' seconds\n"
        f"a trial takes {ratio:.3f} of its time without tracking (at most {ALLOWED_RATIO}; "
        f"{ratios[0]:.3f} to {ratios[-1]:.3f} turn by turn)\n"
        f"{len(entries)} entries: mean {1000 * statistics.fmean(entries):.2f} ms, longest {1000 * max(entries):.1f} ms "
        f"(at most {1000 * ALLOWED_BLOCK:.0f} ms)"
    )
    return 0 if ratio <= ALLOWED_RATIO and max(entries) <= ALLOWED_BLOCK else 1


if __name__ == "__main__":
    raise SystemExit(main())
