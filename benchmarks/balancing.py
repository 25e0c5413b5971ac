"""What a balancing method costs: CPU time of a training epoch, against that of equal weights.

    python -m benchmarks.balancing two [--images DIR] [--turns 7]     # LeNet on Fashion pairs, two tasks
    python -m benchmarks.balancing twenty [--turns 5]                 # a ResNet of 1 M parameters, 32×32, twenty tasks
    python -m benchmarks.balancing bytes                              # what two workers send each other per step

One thread, fp32, batch 256 (two) or 32 (twenty); all methods take turns within one run, and medians of the
turns' CPU time are compared. Peers: two backward passes written by hand, and TorchJD's `mtl_backward` on the
same model. Limits: gradients at the features 1.15 × (T = 2) and 1.5 × (T = 20) the time of equal weights, at
the parameters 1.6 × (T = 2) and no more than TorchJD (T = 20), methods of losses 1.02 ×, FAMO 1.6 ×.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.fashion_pairs import FOLDER, fashion_pairs
from benchmarks.peers.backward import AGGREGATORS, ByHand, MtlBackward
from trainables.balancing.balancer import Balancer
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData, TaskLabels
from trainables.training.trainer import Trainer
from trainables.training.world import World

LOSSES = ("static", "random", "uncertainty", "dwa", "geometric_mean", "imtl_l", "stch", "famo", "gradnorm")
GRAMIAN = (
    *("mgda", "pcgrad", "gradvac", "cagrad", "imtl_g", "nash_mtl"),
    *("aligned_mtl", "fairgrad", "upgrad", "dualproj", "con_fig"),
)
WHOLE = ("graddrop", "excess_mtl", "sdmgrad", "modo")
TWENTY_BATCH = 32
Run = Callable[[], object]


def trainer(data: PreparedData, model: dict[str, Any], batch: int, balancing: dict[str, Any]) -> Trainer:
    """A trainer of `data` by one method, in this process."""
    tasks = {task: {"type": "multiclass", "label": task} for task in data.labels}
    training = {"epochs": 1000, "batch_size": batch, "optimizer": {"name": "adam"}, "precision": "fp32"}
    config = {"data": {"source": "benchmark"}, "tasks": tasks, "model": model, "balancing": balancing}
    return Trainer(TrialConfig.model_validate(config | {"training": training}), data, World.single())


def epochs(of: Trainer, balancer: Balancer | None = None) -> Run:
    """One epoch of training steps of `of` (without validation) at every call; `balancer` in place of its own."""
    steps = of._steps
    if balancer is not None:
        steps._balancer = balancer
    counter = iter(range(10_000))
    return lambda: steps.run(next(counter))


def compare(runs: dict[str, Run], turns: int) -> dict[str, float]:
    """Median CPU seconds by name; everybody has one turn after another, the first one warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            began = time.process_time()
            run()
            if turn:
                seconds[name].append(time.process_time() - began)
    return {name: statistics.median(own) for name, own in seconds.items()}


def print_table(seconds: dict[str, float], base: str, limits: Callable[[str], float | None]) -> bool:
    """A row per method, relative to `base`; whether all limits are met."""
    met = True
    print("| method | CPU time of an epoch | of equal weights | limit |\n|---|---|---|---|")
    for name, own in seconds.items():
        limit = limits(name)
        ratio = own / seconds[base]
        met &= limit is None or ratio <= limit
        said = "" if limit is None else f"{limit:.2f}{'' if ratio <= limit else ': missed'}"
        print(f"| {name} | {own:.2f} s | {ratio:.2f} × | {said} |")
    return met


def two(images: Path, turns: int, steps: int = 60) -> bool:
    """LeNet on pairs of Fashion-MNIST items."""
    whole = fashion_pairs(images)
    rows = {
        "train": whole.splits["train"][: 256 * steps],
        "val": whole.splits["val"][:256],
        "test": np.arange(0),
    }
    data = dataclasses.replace(whole, splits=rows)
    model = {"backbone": {"name": "lenet", "width": 50}}

    def of(section: dict[str, Any]) -> Trainer:
        return trainer(data, model, 256, section)

    runs: dict[str, Run] = {"equal": epochs(of({"method": "equal"}))}
    blind = of({"method": "equal"})
    blind.balancer._look_at_conflict = lambda _: None  # type: ignore[attr-defined]
    runs["equal, never looking at cosines"] = epochs(blind)
    hand = of({"method": "equal"})
    runs["two backward passes by hand"] = epochs(hand, ByHand(tuple(data.labels)))
    runs |= {name: epochs(of(section_of(name))) for name in LOSSES}
    for method in GRAMIAN:
        for mode in ("features", "parameters"):
            runs[f"{method}, {mode}"] = epochs(of({"method": method, "gradients": mode}))
    runs |= {method: epochs(of({"method": method})) for method in WHOLE}

    def limit(name: str) -> float | None:
        if name.endswith("features"):
            return 1.15
        if name.endswith("parameters") or name == "famo":
            return 1.6
        return 1.02 if name in LOSSES and name != "gradnorm" else None

    seconds = compare(runs, turns)
    met = print_table(seconds, "equal", limit)
    looking = seconds["equal"] / seconds["equal, never looking at cosines"] - 1
    print(f"\nto look at the cosines of gradients costs equal weights {looking:.1%} (at most 3 %)")
    return met and looking <= 0.03


def section_of(name: str) -> dict[str, Any]:
    """The `balancing` section of a method with its defaults."""
    return {"method": name} | ({"weights": {"left": 1, "right": 2}} if name == "static" else {})


def twenty(turns: int, steps: int = 2) -> bool:
    """Twenty tasks of ten classes on noise: time does not depend on what is learnt."""
    generator = np.random.default_rng(0)
    count = TWENTY_BATCH * steps
    images = generator.integers(0, 256, (count + TWENTY_BATCH, 3, 32, 32), dtype=np.uint8)
    present = np.ones(len(images), np.bool_)
    names = [f"task{t}" for t in range(20)]
    data = PreparedData(
        directory=Path("benchmark"),
        digest="noise",
        images=images,
        labels={name: TaskLabels(generator.integers(0, 10, len(images)), present) for name in names},
        classes=dict.fromkeys(names, tuple("0123456789")),
        splits={"train": np.arange(count), "val": np.arange(count, len(images)), "test": np.arange(0)},
        mean=(0.5,) * 3,
        std=(0.3,) * 3,
    )
    model = {"backbone": {"name": "small_resnet", "blocks": 2, "width": 38}}
    equal = trainer(data, model, TWENTY_BATCH, {"method": "equal"})
    size = sum(p.numel() for p in equal.model.parameters())
    print(f"{size:,} parameters")
    runs: dict[str, Run] = {"equal": epochs(equal)}
    for method in AGGREGATORS:
        for mode in ("features", "parameters"):
            runs[f"{method}, {mode}"] = epochs(
                trainer(data, model, TWENTY_BATCH, {"method": method, "gradients": mode})
            )
        theirs = trainer(data, model, TWENTY_BATCH, {"method": "equal"})
        runs[f"{method}, TorchJD"] = epochs(theirs, MtlBackward(tuple(names), method))
    seconds = compare(runs, turns)

    def limit(name: str) -> float | None:
        method, _, mode = name.partition(", ")
        by_mode = {"features": 1.5, "parameters": seconds.get(f"{method}, TorchJD", 0) / seconds["equal"]}
        return by_mode.get(mode)

    return print_table(seconds, "equal", limit)


class Counting(World):
    """A worker of two that is alone: what it would send is counted, and nothing is added to it."""

    def __init__(self) -> None:
        super().__init__(0, 2, torch.device("cpu"))
        self.bytes = 0

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """As it is."""
        self.bytes += tensor.numel() * tensor.element_size()
        return tensor

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """As it is."""
        self.bytes += tensor.numel() * tensor.element_size()
        return tensor

    def all_gather_rows(self, rows: Tensor, counts: Any) -> Tensor:
        """Rows of both, the other's zero."""
        self.bytes += max(counts) * rows[:1].numel() * rows.element_size()
        return torch.cat([rows, rows.new_zeros((counts[1], *rows.shape[1:]))])


def sent(balancing: dict[str, Any], steps: int) -> int:
    """Bytes that a worker hands to its collectives in one training epoch of `steps` steps (LeNet, two tasks)."""
    generator = np.random.default_rng(0)
    count = 32 * steps
    images = generator.integers(0, 256, (count + 32, 1, 28, 28), dtype=np.uint8)
    present = np.ones(len(images), np.bool_)
    data = PreparedData(
        directory=Path("benchmark"),
        digest="noise",
        images=images,
        labels={
            name: TaskLabels(generator.integers(0, 10, len(images)), present) for name in ("left", "right")
        },
        classes=dict.fromkeys(("left", "right"), tuple("0123456789")),
        splits={"train": np.arange(count), "val": np.arange(count, len(images)), "test": np.arange(0)},
        mean=(0.5,),
        std=(0.3,),
    )
    world = Counting()
    one = trainer(data, {"backbone": {"name": "lenet", "width": 50}}, 32, balancing)
    own = Trainer(one.config, data, world)
    world.bytes = 0
    own._steps.run(0)
    return world.bytes


def bytes_per_step() -> None:
    """The difference between an epoch of ten steps and one of five: what an epoch costs once drops out."""
    print("| method | bytes per step | more than equal |\n|---|---|---|")
    sections = [{"method": "equal"}, *({"method": name} for name in LOSSES[1:])]
    sections += [
        {"method": m, "gradients": g} for m in ("mgda", "pcgrad") for g in ("features", "parameters")
    ]
    sections += [{"method": name} for name in WHOLE]
    base = 0.0
    for section in sections:
        per_step = (sent(section, 10) - sent(section, 5)) / 5
        base = base or per_step
        print(f"| {', '.join(section.values())} | {per_step:,.0f} | {per_step - base:+,.0f} |")


def main() -> int:
    """One part; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("two", "twenty", "bytes"))
    parser.add_argument("--images", type=Path, default=FOLDER)
    parser.add_argument("--turns", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    match chosen.part:
        case "two":
            return 0 if two(chosen.images, chosen.turns) else 1
        case "twenty":
            return 0 if twenty(chosen.turns) else 1
        case _:
            bytes_per_step()
            return 0


if __name__ == "__main__":
    raise SystemExit(main())
