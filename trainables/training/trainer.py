"""The trainer: one `TrialConfig`, one epoch at a time, the same numbers on any number of workers."""

import copy
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.balancing.balancer import LocalSums, Step
from trainables.balancing.build import build_balancer
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData
from trainables.model.multitask import build_model
from trainables.tasks.losses import build_loss
from trainables.training.batches import batch_bounds, epoch_rows
from trainables.training.errors import TrainingError
from trainables.training.evaluate import Evaluation, collect_logits
from trainables.training.images import ImageBatches
from trainables.training.optim import build_optimizer
from trainables.training.precision import resolve_precision
from trainables.training.report import EpochReport
from trainables.training.schedule import lr_factor
from trainables.training.selection import Selection
from trainables.training.state import ModelState, TrainState
from trainables.training.world import World


class Trainer:
    """Trains what `config` describes on `data`, as one of `world`'s workers."""

    def __init__(self, config: TrialConfig, data: PreparedData, world: World) -> None:
        self.config = config
        self.world = world
        self.epoch = 0
        """Finished epochs."""
        self.tasks = tuple(config.tasks)
        self.precision = resolve_precision(config.training.precision, world.device)
        train_rows, val_rows = data.splits["train"], data.splits["val"]
        self.losses = {
            task: build_loss(task, config.tasks[task], data.classes[task], data.labels[task], train_rows)
            for task in self.tasks
        }
        channels, height, width = data.images.shape[1:]
        self.model = build_model(
            config.model,
            channels=channels,
            image_size=(height, width),
            outputs={task: loss.outputs for task, loss in self.losses.items()},
            seed=config.seed,
        )
        self.model.to(world.device, self.precision.parameters, memory_format=self.precision.memory_format)  # type: ignore[call-overload]
        self.balancer = build_balancer(config.balancing, self.tasks)
        self.optimizer = build_optimizer(config.training.optimizer, dict(self.model.named_parameters()))
        self.selection = Selection(config.training.select, config.training.early_stop)
        self._best: dict[str, Tensor] = {}
        self._images = ImageBatches(data.images, data.mean, data.std, self.precision, world.device)
        self._normalisation = {"mean": list(data.mean), "std": list(data.std)}
        self._image_shape = [channels, height, width]
        self._classes = {task: list(data.classes[task]) for task in self.tasks}
        self._rows = torch.from_numpy(np.ascontiguousarray(train_rows))
        self._val_rows = torch.from_numpy(np.ascontiguousarray(val_rows))
        self._bounds = batch_bounds(len(train_rows), config.training.batch_size)
        self._targets: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        self._present: dict[str, Tensor] = {}
        for task, loss in self.losses.items():
            labels = data.labels[task]
            self._targets[task] = loss.encode(labels)
            self._weights[task] = torch.from_numpy(loss.example_weights(labels))
            self._present[task] = torch.from_numpy(labels.present)
        self._complete = {task: bool(data.labels[task].present[train_rows].all()) for task in self.tasks}
        self.evaluation = self._evaluation()

    def _evaluation(self) -> Evaluation:
        rows = self._val_rows
        metrics: dict[str, tuple[str, ...]] = {}
        for task, config in self.config.tasks.items():
            selected = self.config.training.select.metric.removeprefix(f"{task}.")
            asked = [config.metric, *config.metrics, selected if "." not in selected else "score"]
            metrics[task] = tuple(m for m in dict.fromkeys(asked) if m not in ("score", "loss"))
        device = self.world.device
        evaluation = Evaluation(
            self.config.tasks,
            self.losses,
            {task: t[rows].to(device) for task, t in self._targets.items()},
            {task: t[rows] for task, t in self._weights.items()},
            {task: t[rows].to(device) for task, t in self._present.items()},
            metrics,
        )
        if self.config.training.select.metric not in evaluation.names():
            raise TrainingError(
                f"training.select.metric is {self.config.training.select.metric!r}, which is not measured.",
                hint=f"Measured are: {', '.join(evaluation.names())}.",
                key="training.select.metric",
            )
        return evaluation

    def run_epoch(self) -> EpochReport:
        """Train one epoch and validate."""
        started = time.perf_counter()
        self.balancer.start_epoch(self.epoch)
        training = self._train_epoch()
        training["images_per_second"] = len(self._rows) / (time.perf_counter() - started)
        logits = collect_logits(self.model, self._images, self._val_rows, self.world, self.precision)
        metrics = self.evaluation.measure(logits, self.world)
        self.epoch += 1
        best = self.selection.update(self.epoch, metrics)
        if best:
            self._best = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        finished = self.epoch >= self.config.training.epochs or self.selection.stops
        return EpochReport(self.epoch, metrics, training, time.perf_counter() - started, best, finished)

    def _train_epoch(self) -> dict[str, float]:
        """Every step of one epoch; what it tells about training."""
        config = self.config.training
        rows = epoch_rows(self._rows, self.config.seed, self.epoch)
        targets = {task: t[rows].to(self.world.device) for task, t in self._targets.items()}
        starts = np.array(self._bounds[:-1])
        totals = {
            task: np.add.reduceat(w[rows].numpy(), starts).tolist() for task, w in self._weights.items()
        }
        steps = len(starts)
        history: list[list[Tensor]] = [[] for _ in self.tasks]
        weights = dict.fromkeys(self.tasks, 0.0)
        context = self.model.context
        zero = torch.zeros((), dtype=self.precision.parameters, device=self.world.device)
        lr = 0.0
        self.model.train()
        for index in range(steps):
            first, last = self._bounds[index], self._bounds[index + 1]
            start, stop = self.world.part(last - first)
            present = tuple(task for task in self.tasks if totals[task][index] > 0)
            begin, end = first + start, first + stop
            x = self._images.batch(rows[begin:end])
            batch_targets = {task: targets[task][begin:end] for task in present}

            def forward(
                x: Tensor = x, batch_targets: dict[str, Tensor] = batch_targets
            ) -> tuple[tuple[Tensor, ...], LocalSums]:
                with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision.autocast):
                    features = self.model.features(x)
                    logits = self.model.predict(features)
                return features, {
                    task: self.losses[task].total(
                        logits[task].to(self.precision.parameters), wanted, complete=self._complete[task]
                    )
                    for task, wanted in batch_targets.items()
                }

            context.begin(self.epoch, index, start, stop, last - first)
            features, sums = forward()
            step = Step(
                seed=self.config.seed,
                epoch=self.epoch,
                index=index,
                world=self.world,
                model=self.model,
                tasks=present,
                sums=sums,
                totals={task: totals[task][index] for task in present},
                features=features,
                forward=lambda: forward()[1],
            )
            self.model.zero_grad(set_to_none=True)
            self.balancer.backward(step)
            lr = config.optimizer.lr * lr_factor(
                config.schedule, self.epoch * steps + index, steps, config.epochs
            )
            self.optimizer.step(lr)
            self.balancer.after_step(step)
            for t, task in enumerate(self.tasks):
                history[t].append(sums[task].detach() if task in sums else zero)
            for task, weight in step.weights.items():
                weights[task] += weight
        return self._training_report(history, totals, weights, rows, lr)

    def _training_report(
        self, history: Any, totals: Any, weights: Any, rows: Tensor, lr: float
    ) -> dict[str, float]:
        sums_TS = torch.stack([torch.stack(column) for column in history]).double()
        sums_TS = self.world.all_reduce_sum(sums_TS).cpu()
        if not bool(torch.isfinite(sums_TS).all()):
            task, step = (~torch.isfinite(sums_TS)).nonzero().tolist()[0]
            raise TrainingError(
                f"loss of {self.tasks[task]} is not finite at step {step}, epoch {self.epoch + 1}, lr {lr}"
            )
        report: dict[str, float] = {"lr": lr}
        means: dict[str, float] = {}
        for t, task in enumerate(self.tasks):
            total = sum(totals[task])
            seen = sum(1 for n in totals[task] if n > 0)
            if total > 0:
                means[task] = sums_TS[t].sum().item() / total
            report[f"{task}.train_loss"] = means.get(task, float("nan"))
            report[f"{task}.weight"] = weights[task] / seen if seen else float("nan")
            report[f"{task}.labels_seen"] = float(self._present[task][rows].sum())
        self.balancer.end_epoch(means)
        return report

    def state_dict(self) -> TrainState:
        """Everything that the next epoch depends on, copied to the CPU."""
        tensors: dict[str, Tensor] = {}
        tensors |= {f"model/{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"optimizer/{name}": t for name, t in self.optimizer.state_dict().items()}
        tensors |= {f"balancer/{name}": t for name, t in self.balancer.state_dict().items()}
        tensors |= {f"best/{name}": t for name, t in self._best.items()}
        copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
        return TrainState(copies, {"epoch": self.epoch, "selection": self.selection.state_dict()})

    def load_state_dict(self, state: TrainState) -> None:
        """Continue exactly where `state_dict` was taken."""
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "balancer": {}, "best": {}}
        for key, tensor in state.tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor
        self.model.load_state_dict(groups["model"])
        self.optimizer.load_state_dict(groups["optimizer"])
        self.balancer.load_state_dict(groups["balancer"])
        self._best = {name: t.to(self.world.device) for name, t in groups["best"].items()}
        self.epoch = state.meta["epoch"]
        self.selection.load_state_dict(copy.deepcopy(state.meta["selection"]))

    def best_state(self) -> ModelState:
        """The model of the selected epoch."""
        if not self._best:
            raise RuntimeError("no epoch has been run")
        meta = {
            "epoch": self.selection.epoch,
            "metrics": self.selection.state_dict()["metrics"],
            "classes": self._classes,
            "image_shape": self._image_shape,
            **self._normalisation,
        }
        return ModelState({name: t.cpu() for name, t in self._best.items()}, meta)
