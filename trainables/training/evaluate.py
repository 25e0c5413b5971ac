"""Validation: logits of every example exactly once, metrics on all of them together."""

import difflib
import logging
import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from trainables.config.tasks import TaskConfig
from trainables.config.trial import TrialConfig
from trainables.errors import TrainingError
from trainables.model.multitask import MultiTaskModel
from trainables.tasks.losses import TaskLoss
from trainables.tasks.metrics import METRICS, compute_metric
from trainables.training.images import ImageBatches
from trainables.training.precision import Precision
from trainables.training.targets import Targets
from trainables.training.world import World

LARGEST_BATCH = 512
PIXELS = 512 * 64 * 64
"""Images validated at once: this many pixels at most."""

log = logging.getLogger(__name__)


def evaluation_batch(image_size: tuple[int, int], batch_size: int, world: World) -> int:
    """Images validated at once, equal on every worker: never fewer than a worker trains on at once."""
    height, width = image_size
    largest_part = max(stop - start for start, stop in pairwise(world.bounds(batch_size)))
    return max(min(LARGEST_BATCH, PIXELS // (height * width)), largest_part)


@torch.no_grad()
def collect_logits(
    model: MultiTaskModel, images: ImageBatches, rows: Tensor, world: World, precision: Precision, batch: int
) -> dict[str, Tensor]:
    """Logits (M, K_t) by task of `rows` (M,) in their order, on every worker; each computes a part.

    `batch`: images that go through the model at once.
    """
    start, stop = world.part(len(rows))
    model.eval()
    parts: dict[str, list[Tensor]] = {task: [] for task in model.tasks}
    own = rows[start:stop] if stop > start else rows[:1]
    for chunk in torch.split(own, batch):
        x = images.batch(chunk)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision.autocast):
            outputs = model(x)
        for task, logits in outputs.items():
            parts[task].append(logits.to(precision.parameters))
    bounds = world.bounds(len(rows))
    counts = [bounds[r + 1] - bounds[r] for r in range(world.size)]
    return {task: world.all_gather_rows(torch.cat(p)[: stop - start], counts) for task, p in parts.items()}


def measured_metrics(config: TrialConfig) -> dict[str, tuple[str, ...]]:
    """What is measured per task: its own metric, those it lists, and the one that selects the epoch.

    Raises:
        TrainingError: `training.select.metric` names no task or no metric.
    """
    selected = config.training.select.metric
    task, _, metric = selected.rpartition(".")
    if selected != "score" and (task not in config.tasks or metric not in (*METRICS, "loss")):
        known = [f"{t}.{m}" for t in config.tasks for m in (*METRICS, "loss")]
        near = difflib.get_close_matches(selected, known, 1)
        raise TrainingError(
            f"training.select.metric is {selected!r}, which names no metric of a task.",
            hint=f"Did you mean {near[0]}?" if near else "Write score, <task>.<metric> or <task>.loss.",
            key="training.select.metric",
        )
    measured: dict[str, tuple[str, ...]] = {}
    for name, own in config.tasks.items():
        asked = [own.metric, *own.metrics, *([metric] if name == task and metric != "loss" else [])]
        measured[name] = tuple(dict.fromkeys(asked))
    return measured


class Evaluation:
    """What is measured on one split, and the score made of it."""

    def __init__(
        self,
        tasks: Mapping[str, TaskConfig],
        losses: Mapping[str, TaskLoss],
        targets: Targets,
        metrics: Mapping[str, tuple[str, ...]],
        device: torch.device,
    ) -> None:
        """`targets` are those of the split's rows; `metrics` by task."""
        self._tasks = dict(tasks)
        self._losses = {task: loss.without_smoothing() for task, loss in losses.items()}
        self._targets = {task: own.to(device) for task, own in targets.encoded.items()}
        self._present = {task: torch.from_numpy(own).to(device) for task, own in targets.present.items()}
        self._totals = {task: float(own.sum()) for task, own in targets.weights.items()}
        self._metrics = metrics
        self._warned: set[str] = set()

    def names(self) -> list[str]:
        """Keys of what `measure` returns, in order."""
        per_task = [f"{task}.{m}" for task in self._tasks for m in (*self._metrics[task], "loss")]
        return [*per_task, "score"]

    def measure(self, logits: Mapping[str, Tensor], world: World) -> dict[str, float]:
        """Every metric over the whole split: computed by the first worker, told to all."""
        values = torch.zeros(len(self.names()), dtype=torch.float64, device=world.device)
        if world.rank == 0:
            values = torch.tensor(self._measure(logits), dtype=torch.float64, device=world.device)
        return dict(zip(self.names(), world.broadcast(values).tolist(), strict=True))

    def _measure(self, logits: Mapping[str, Tensor]) -> list[float]:
        values: list[float] = []
        main: list[float] = []
        for task, config in self._tasks.items():
            present = self._present[task]
            kept = logits[task][present]
            targets = self._targets[task][present]
            finite = bool(torch.isfinite(kept).all())
            for name in self._metrics[task]:
                value = compute_metric(name, config, kept, targets)
                if math.isnan(value):
                    self._warn(task, name, len(kept), finite=finite)
                values.append(value)
                # A task without the labels it needs is left out of the score; a broken output spoils it.
                if name == config.metric and not (math.isnan(value) and finite):
                    main.append(value)
            total = self._totals[task]
            loss = self._losses[task].total(kept, targets, complete=True).double().item()
            values.append(loss / total if total > 0 and math.isfinite(loss) else math.nan)
        values.append(sum(main) / len(main) if main else math.nan)
        return values

    def _warn(self, task: str, metric: str, labels: int, *, finite: bool) -> None:
        key = f"{task}.{metric}"
        if not finite:
            reason, score = "outputs of the model are not finite", "so is the score"
        else:
            missing = "no validation example has its label"
            reason = missing if labels == 0 else "its validation labels are all alike"
            score = "left out of the score"
        if (said := f"{key} is undefined ({reason}): reported as nan and {score}") not in self._warned:
            self._warned.add(said)
            log.warning("%s", said)
