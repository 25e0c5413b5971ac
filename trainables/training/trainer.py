"""The trainer: one `TrialConfig`, one epoch at a time, the same numbers on any number of workers."""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.balancing.balancer import Balancer
from trainables.balancing.build import build_balancer
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData
from trainables.errors import TrainingError
from trainables.model.batch_norm import use_global_batch_norm
from trainables.model.multitask import MultiTaskModel, build_model
from trainables.model.recompute import recompute_activations
from trainables.tasks.losses import build_loss
from trainables.training.costs import model_costs
from trainables.training.ema import WeightAverage
from trainables.training.evaluate import Evaluation, collect_logits, evaluation_batch, measured_metrics
from trainables.training.images import Augment, ImageBatches
from trainables.training.memory import explaining_want_of_memory
from trainables.training.optim import build_optimizer
from trainables.training.precision import resolve_precision
from trainables.training.predictions import Predictions
from trainables.training.report import EpochReport
from trainables.training.selection import Selection
from trainables.training.state import ModelState, TrainState, by_group, copied, environment, save_state
from trainables.training.steps import TrainingSteps
from trainables.training.targets import Targets
from trainables.training.world import World

log = logging.getLogger(__name__)


class Trainer:
    """Trains what `config` describes on `data`, as one of `world`'s workers.

    Every worker makes the same calls in the same order. Nothing global is set: neither threads nor seeds.
    """

    epoch: int
    """Finished epochs."""

    def __init__(
        self,
        config: TrialConfig,
        data: PreparedData,
        world: World,
        make_balancer: Callable[[MultiTaskModel], Balancer] | None = None,
        state: TrainState | None = None,
    ) -> None:
        """Build model, optimizer and balancer.

        Args:
            config: what is trained.
            data: what it is trained on.
            world: the workers of this training.
            make_balancer: of another method than `config.balancing`.
            state: goes on from it, as `load_state_dict`; where the training began, `model.weights`, is not looked at
                any more.

        Raises:
            ModelError: the model cannot be built.
            TrainingError: a setting does not fit the tasks, or `state` is of other data.
        """
        self.config = config
        self.world = world
        self.epoch = 0
        rows = {split: data.splits[split] for split in ("train", "val")}
        self._losses = {
            task: build_loss(task, own, data.classes[task], data.labels[task], rows["train"])
            for task, own in config.tasks.items()
        }
        channels, height, width = data.images.shape[1:]
        inputs = state.meta.get("inputs") if state is not None and config.model.weights is not None else None
        self.model = build_model(
            config.model,
            channels=channels if inputs is None else inputs["channels"],
            image_size=(height, width),
            outputs={task: loss.outputs for task, loss in self._losses.items()},
            seed=config.seed,
            load=inputs is None,
        )
        if inputs is not None and inputs["normalisation"] is not None:
            expected_mean, expected_std = map(tuple, inputs["normalisation"])
            self.model.normalisation = expected_mean, expected_std
        self.precision = resolve_precision(config.training.precision, world, self.model.backbone)
        use_global_batch_norm(self.model, world, self.model.context)
        self.model.to(device=world.device, dtype=self.precision.parameters)
        # Initial weights may differ in their last bits between kinds of CPU.
        world.broadcast_many(list(self.model.state_dict().values()))
        self.model.to(memory_format=self.precision.memory_format)
        if config.training.optimizer.backbone_lr_factor == 0:
            self.model.freeze_backbone()
        self.costs = model_costs(self.model, config.model, (height, width), self.precision, world)
        if config.training.recompute:
            recompute_activations(self.model.backbone, self.model.context)
        self.balancer = (
            make_balancer(self.model)
            if make_balancer is not None
            else build_balancer(config.balancing, tuple(config.tasks), self.model)
        )
        self.optimizer = build_optimizer(
            config.training.optimizer,
            dict(self.model.named_parameters()),
            slower=self.model.backbone_parameters(),
        )
        ema = config.training.ema
        self.average = WeightAverage(self.model, ema) if ema is not None else None
        self.selection = Selection(config.training.select, config.training.early_stop)
        mean, std = self.model.normalisation or (data.mean, data.std)
        self._images = ImageBatches(data.images, mean, std, self.precision, world.device)
        self._steps = TrainingSteps(
            config.training,
            config.seed,
            world,
            self.precision,
            self.model,
            self._losses,
            self.balancer,
            self.optimizer,
            self.average,
            self._images,
            torch.from_numpy(rows["train"]),
            Targets.of(self._losses, data.labels, rows["train"]),
            self._augmentation if config.data.augment not in ("none", ()) else None,
            config.data.mixing,
            data.sources,
        )
        self._evaluation_batch = evaluation_batch((height, width), config.training.batch_size, world)
        self._val_rows = torch.from_numpy(rows["val"])
        self._evaluation = Evaluation(
            config.tasks,
            self._losses,
            Targets.of(self._losses, data.labels, rows["val"]),
            measured_metrics(config),
            world.device,
        )
        self._best: dict[str, Tensor] = {}
        self._logits: dict[str, Tensor] = {}
        self._best_logits: dict[str, Tensor] = {}
        self._data = data
        self._described = {
            "classes": {task: list(data.classes[task]) for task in config.tasks},
            "image_shape": [channels, height, width],
            "mean": list(mean),
            "std": list(std),
            "config": config.model_dump(mode="json"),
            "data_digest": data.digest,
            "backbone": self.model.backbone_names(),
        }
        if state is not None:
            self.load_state_dict(state)

    def _augmentation(self, epoch: int) -> Augment:
        from trainables.data.augment import augment

        seed, config = self.config.seed, self.config.data.augment
        return lambda images, rows: augment(images, rows, seed=seed, epoch=epoch, config=config)

    def run_epoch(self) -> EpochReport:
        """Train one epoch, validate, and judge whether it is the one that counts.

        Raises:
            TrainingError: a loss or a parameter is not finite, on every worker alike.
            OutOfMemory: an allocation failed.
        """
        with explaining_want_of_memory(self.config.training.batch_size, self.world):
            return self._run_epoch()

    def _run_epoch(self) -> EpochReport:
        started = time.perf_counter()
        training = self._steps.run(self.epoch)
        training["images_per_second"] = self._steps.examples / (time.perf_counter() - started)
        with self.average.in_place_of_weights() if self.average is not None else contextlib.nullcontext():
            metrics = self.validate()
            self.epoch += 1
            best = self.selection.update(self.epoch, metrics)
            if best:
                self._best = copied(self.model.state_dict())
                self._best_logits = self._logits
        finished = self.epoch >= self.config.training.epochs or self.selection.stops
        seconds = time.perf_counter() - started
        return EpochReport(self.epoch, metrics, training, seconds, best, finished, self.costs)

    def validate(self) -> dict[str, float]:
        """Metrics of the validation split with the weights as they are: `task.metric`, `task.loss`, `score`."""
        self._logits = collect_logits(
            self.model, self._images, self._val_rows, self.world, self.precision, self._evaluation_batch
        )
        return self._evaluation.measure(self._logits, self.world)

    def state_dict(self) -> TrainState:
        """Everything that the next epoch depends on, copied to the CPU."""
        groups = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "balancer": self.balancer.state_dict(),
            "ema": self.average.tensors if self.average is not None else {},
            "best": self._best,
        }
        tensors = {f"{group}/{name}": t for group, own in groups.items() for name, t in own.items()}
        meta: dict[str, Any] = {
            "epoch": self.epoch,
            "selection": self.selection.state_dict(),
            "ema_updates": self.average.updates if self.average is not None else 0,
            "fingerprint": self.config.fingerprint,
            "data_digest": self._described["data_digest"],
            "balancing": self.config.balancing.method,
            "environment": environment(self.precision.name, self.world.device),
            "inputs": {"channels": self.model.channels, "normalisation": self.model.normalisation},
        }
        return TrainState({name: t.contiguous() for name, t in copied(tensors, "cpu").items()}, meta)

    def load_state_dict(self, state: TrainState) -> None:
        """Continue exactly where `state_dict` was taken: same seed, data, precision, threads and kind of CPU.

        The config may differ in what does not change shapes (PBT takes over another trial's weights). The state of
        another optimizer or balancing method is passed over: it starts afresh.

        Raises:
            TrainingError: it was taken on other data.
        """
        if state.meta["data_digest"] != self._described["data_digest"]:
            raise TrainingError(
                "The data have changed since this training was saved: its epochs so far saw other images, labels "
                "or splits.",
                hint="Restore the data as they were, or start a new run.",
                key="data",
            )
        groups = by_group(state, ("model", "optimizer", "balancer", "ema", "best"))
        self.model.load_state_dict(groups["model"])
        self.optimizer.load_state_dict(groups["optimizer"])
        if state.meta["balancing"] == self.config.balancing.method:  # else it says nothing to this method
            self.balancer.load_state_dict(groups["balancer"])
        if self.average is not None:  # a state without averages starts them from its weights
            self.average.load_state_dict(groups["ema"] or groups["model"], state.meta["ema_updates"])
        self._best = copied(groups["best"], self.world.device)
        self._best_logits = {}
        self.epoch = state.meta["epoch"]
        self.selection.load_state_dict(state.meta["selection"])
        now = environment(self.precision.name, self.world.device)
        for name, value in state.meta["environment"].items():
            if self.world.rank == 0 and now.get(name) != value:
                log.warning("resumed with %s %s instead of %s: not bit-identical", name, now.get(name), value)

    def best_state(self) -> ModelState:
        """The model of the selected epoch (its moving average where one is used) and what it achieved."""
        if not self._best:
            raise RuntimeError("no epoch has been run")
        chosen = self.selection.state_dict()
        meta = {"epoch": chosen["epoch"], "metrics": chosen["metrics"], **self._described}
        return ModelState({name: t.contiguous() for name, t in copied(self._best, "cpu").items()}, meta)

    def save_best(self, directory: Path) -> None:
        """Write the model of the selected epoch, and beside it what it says of the validation examples.

        After `load_state_dict` its predictions are not known before there is a better epoch; a file that is there
        already is then left as it is.
        """
        save_state(self.best_state(), directory)
        if self._best_logits:
            logits = {task: own.float().cpu().numpy() for task, own in self._best_logits.items()}
            Predictions.of(self.config.tasks, logits, self._data, self.selection.epoch).save(directory)
