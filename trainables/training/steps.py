"""The optimisation steps of one epoch."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from trainables.balancing.balancer import Balancer
from trainables.balancing.step import Batch, Pass, Step
from trainables.config.data import Mixing
from trainables.config.training import TrainingConfig
from trainables.errors import TrainingError
from trainables.model.multitask import MultiTaskModel
from trainables.tasks.losses import TaskLoss
from trainables.training.batches import batch_bounds
from trainables.training.ema import WeightAverage
from trainables.training.history import LossHistory
from trainables.training.images import Augment, ImageBatches
from trainables.training.mixing import drawing
from trainables.training.optim import Optimizer
from trainables.training.precision import Precision
from trainables.training.sam import ascended
from trainables.training.schedule import lr_factor
from trainables.training.targets import Targets
from trainables.training.world import World

MakeAugment = Callable[[int], Augment]
"""The augmentation of an epoch (0-based)."""


class TrainingSteps:
    """Runs epochs of optimisation steps on the training rows, as one of `world`'s workers."""

    def __init__(
        self,
        config: TrainingConfig,
        seed: int,
        world: World,
        precision: Precision,
        model: MultiTaskModel,
        losses: dict[str, TaskLoss],
        balancer: Balancer,
        optimizer: Optimizer,
        average: WeightAverage | None,
        images: ImageBatches,
        rows: Tensor,
        targets: Targets,
        augment: MakeAugment | None,
        mixing: Mixing,
        sources: Mapping[str, range],
    ) -> None:
        """`rows` (n,): row numbers of the training images; `targets`: their labels in the same order.

        `mixing`: how often each of `sources` (which rows are whose) is drawn.
        """
        self._config = config
        self._seed = seed
        self._world = world
        self._precision = precision
        self._model = model
        self._losses = losses
        self._balancer = balancer
        self._optimizer = optimizer
        self._average = average
        self._images = images
        self._rows = rows
        self._targets = targets
        self._augment = augment
        self._tasks = tuple(losses)
        self._complete = targets.complete()
        self._bounds = batch_bounds(len(rows), config.batch_size)
        self._draw = drawing(mixing, sources, rows, seed, self._bounds)
        self._steps = len(self._bounds) - 1
        # Running statistics are part of the model as well; what is infinite by design (a mask) is not looked at.
        self._must_be_finite = [
            *model.parameters(),
            *(b for b in model.buffers() if b.is_floating_point() and bool(torch.isfinite(b).all())),
        ]

    @property
    def examples(self) -> int:
        """Training examples per epoch, over all workers."""
        return len(self._rows)

    def lr(self, epoch: int, index: int) -> float:
        """The learning rate of step `index` of `epoch` (both 0-based)."""
        config = self._config
        factor = lr_factor(config.schedule, epoch * self._steps + index, self._steps, config.epochs)
        return config.optimizer.lr * factor

    def run(self, epoch: int) -> dict[str, float]:
        """Every step of `epoch` (0-based); returns the training part of its report.

        Raises:
            TrainingError: a loss or a parameter is not finite, on every worker alike.
        """
        draws = self._draw(epoch)
        order, turns = draws.order, draws.turns
        rows = self._rows[order]
        targets = self._targets.in_order(order, self._world.device)
        weights = self._targets.weights_in_order(order)
        starts = self._bounds[:-1]  # N_t of every batch, without any communication
        totals = {task: np.add.reduceat(own, starts).tolist() for task, own in weights.items()}
        augment = self._augment(epoch) if self._augment is not None else None
        history = LossHistory(self._tasks, self._world, epoch + 1, lambda index: self.lr(epoch, index))
        applied = dict.fromkeys(self._tasks, 0.0)
        self._balancer.start_epoch(epoch)
        self._model.train()
        for index in range(self._steps):
            first, last = self._bounds[index], self._bounds[index + 1]
            start, stop = self._world.part(last - first)
            begin, end, padding = first + start, first + stop, start == stop
            if padding:  # more workers than examples: stand in with one that does not count
                begin, end = first, first + 1
            present = [task for task in self._tasks if totals[task][index] > 0]
            if not present:  # nobody has a label in this batch: there is nothing to learn from it
                history.add({})
                continue
            x = self._images.batch(rows[begin:end], augment, None if turns is None else turns[begin:end])
            batch = Batch(
                size=last - first,
                start=start,
                stop=stop,
                counted=not padding,
                targets={task: targets[task][begin:end] for task in present},
                weights={task: weights[task][first:last] for task in present},
                totals={task: totals[task][index] for task in present},
                complete=self._complete,
            )
            step = Step(
                seed=self._seed,
                epoch=epoch,
                index=index,
                world=self._world,
                model=self._model,
                losses=self._losses,
                batch=batch,
                forward=partial(self._forward, x, epoch, index, batch),
            )
            self._model.zero_grad(set_to_none=True)
            self._balancer.backward(step)
            if self._config.optimizer.sam is not None:
                with ascended(list(self._optimizer.parameters.values()), self._config.optimizer.sam):
                    again = step.again()
                    self._balancer.backward(again)
                step.weights = again.weights
                del again
            if self._config.clip_norm is not None:
                clip_gradients(list(self._model.parameters()), self._config.clip_norm)
            self._optimizer.step(self.lr(epoch, index))
            if self._average is not None:
                self._average.update()
            self._balancer.after_step(step)
            history.add(step.sums)
            for task, weight in step.weights.items():
                applied[task] += weight
            del step  # and its graph, before the next one is built
        history.reduce()
        self._check_parameters(epoch)
        report = {"lr": self.lr(epoch, self._steps - 1)}
        means: dict[str, float] = {}
        for task, labels in self._targets.labelled(order).items():
            taken_part = sum(total > 0 for total in totals[task])
            if taken_part:
                means[task] = history.sums[task] / sum(totals[task])
            report[f"{task}.train_loss"] = means.get(task, math.nan)
            report[f"{task}.weight"] = applied[task] / taken_part if taken_part else math.nan
            report[f"{task}.labels_seen"] = float(labels)
        return report | dict(self._balancer.end_epoch(means))

    def _forward(self, x: Tensor, epoch: int, index: int, batch: Batch) -> Pass:
        """This worker's rows through the model as it is now."""
        context = self._model.context
        context.begin(epoch, index, batch.start, batch.stop, batch.size, padding=not batch.counted)
        if not self._precision.autocast:
            features = self._model.features(x)
            return Pass(features, self._model.predict(features))
        with torch.autocast(x.device.type, torch.bfloat16):
            features = self._model.features(x)
            logits = self._model.predict(features)
        return Pass(features, {task: own.float() for task, own in logits.items()})

    def _check_parameters(self, epoch: int) -> None:
        """The last step of an epoch may have spoilt what the losses before it do not show yet."""
        norms = torch.stack([norm.double() for norm in torch._foreach_norm(self._must_be_finite)])
        spoilt = self._world.all_reduce_sum((~torch.isfinite(norms)).sum())
        if int(spoilt) > 0:
            lr = self.lr(epoch, self._steps - 1)
            raise TrainingError(
                f"Parameters or statistics of the model are not finite after epoch {epoch + 1} (lr {lr:.3g}).",
                hint="Lower training.optimizer.lr, or set training.clip_norm.",
                key="training.optimizer.lr",
            )


@torch.no_grad()
def clip_gradients(parameters: list[nn.Parameter], largest: float) -> None:
    """Scale all gradients together so that their joint norm is at most `largest`; waits for no device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        norm = torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(gradients))))
        torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1.0))
