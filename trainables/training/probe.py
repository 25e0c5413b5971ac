"""A short training that measures where in the backbone tasks conflict."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from trainables.balancing.probe import ConflictProbe
from trainables.config.balancing import EqualBalancing
from trainables.config.sharing import BranchingSharing
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData
from trainables.errors import TrainingError
from trainables.model.backbones import build_backbone
from trainables.model.keyed import drawing
from trainables.model.multitask import MultiTaskModel
from trainables.model.sharing.branching import Branching
from trainables.model.tracing import split_backbone
from trainables.training.report import EpochReport
from trainables.training.trainer import Trainer
from trainables.training.world import World

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Conflicts:
    """What was measured at the S parts of a backbone that heads read, for P pairs of tasks."""

    parts: tuple[str, ...]
    """Their names; numbers start at 1."""
    parameters: tuple[int, ...]
    """Of each part; 0 where it just pools."""
    depths: tuple[int, ...]
    """By task: how many of the parts it reads."""
    model_parameters: int
    """Of the whole model with all parts shared."""
    pairs: tuple[tuple[str, str], ...]
    cosines: Array
    """(steps, S, P); NaN where a task had no labels in the batch, or no gradient at the part."""

    def mean_cosines(self) -> Array:
        """(S, P); NaN for a pair that never met."""
        return _mean(self.cosines, 0)

    def scores(self, threshold: float) -> Array:
        """(S,): of all (step, pair), the share whose cosine is below `threshold`; NaN where no pair ever met.

        The conflict score of Recon (Shi et al., ICLR 2023), divided by how many were seen.
        """
        return _mean(self._below(threshold), (0, 2))

    def scores_of_pairs(self, threshold: float) -> Array:
        """(P,): the same of all (step, part)."""
        return _mean(self._below(threshold), (0, 1))

    def parameters_branching(self, at: int) -> int:
        """Of the whole model when only the first `at` parts are shared."""
        added = -sum(self.parameters[at:])
        for depth in self.depths:
            added += sum(self.parameters[at:depth])
        return self.model_parameters + added

    def _below(self, threshold: float) -> Array:
        return np.where(np.isnan(self.cosines), np.nan, self.cosines < threshold)


def measure_conflicts(
    config: TrialConfig,
    data: PreparedData,
    world: World,
    *,
    epochs: int,
    every: int,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> Conflicts:
    """Train what `config` describes, but with one backbone for all tasks and equal weights, for `epochs` epochs.

    They are the first ones of its training: the schedule is that of `config.training.epochs`, at most which can be
    run. Gradients are looked at in every `every`-th step of an epoch.

    Raises:
        ModelError: the backbone cannot be built or divided.
        TrainingError: nothing that tasks share is trained, or a loss is not finite.
    """
    probe: ConflictProbe | None = None

    def make_probe(model: MultiTaskModel) -> ConflictProbe:
        nonlocal probe
        trained = [[p for p in part.parameters() if p.requires_grad] for part in _trunk(model).trunk]
        if not any(trained):
            raise TrainingError(
                "Tasks can conflict at what they share, and nothing shared is trained.",
                hint="Train the backbone (training.optimizer.backbone_lr_factor above 0).",
                key="training.optimizer.backbone_lr_factor",
            )
        probe = ConflictProbe(tuple(config.tasks), trained, every)
        return probe

    names = _part_names(config, data)
    # With all parts shared, branching is hard sharing: the same numbers, but the parts are modules.
    model = config.model.model_copy(update={"sharing": BranchingSharing(at=len(names))})
    shared = config.model_copy(update={"model": model, "balancing": EqualBalancing()})
    trainer = Trainer(shared, data, world, make_probe)
    assert probe is not None, "the trainer makes its balancer"  # noqa: S101 - states what Trainer promises
    for _ in range(epochs):
        on_epoch(trainer.run_epoch())
    trunk = _trunk(trainer.model)
    pairs = tuple(combinations(range(len(trunk.tasks)), 2))
    seen = np.stack(probe.seen) if probe.seen else np.empty((0, len(trunk.trunk), *[len(trunk.tasks)] * 2))
    return Conflicts(
        parts=names[: len(trunk.trunk)],
        parameters=tuple(sum(p.numel() for p in part.parameters()) for part in trunk.trunk),
        depths=tuple(trunk.depth(task) for task in trunk.tasks),
        model_parameters=sum(p.numel() for p in trainer.model.parameters()),
        pairs=tuple((trunk.tasks[a], trunk.tasks[b]) for a, b in pairs),
        cosines=seen[:, :, [a for a, _ in pairs], [b for _, b in pairs]],
    )


def _trunk(model: MultiTaskModel) -> Branching:
    structure = model.backbone
    assert isinstance(structure, Branching)  # noqa: S101
    return structure


def _part_names(config: TrialConfig, data: PreparedData) -> tuple[str, ...]:
    """Of the parts into which the backbone of `config` is divided."""
    channels, height, width = data.images.shape[1:]
    with drawing(config.seed, "init", "backbone"):
        backbone = build_backbone(config.model, channels=channels, image_size=(height, width))
    name = config.model.backbone.name
    return split_backbone(
        backbone.net, name=name, channels=backbone.channels, image_size=(height, width)
    ).names


def _mean(values: Array, axis: int | tuple[int, ...]) -> Array:
    """Over what is not NaN; NaN where there is nothing else."""
    counts = np.sum(~np.isnan(values), axis=axis)
    sums: Array = np.nansum(values, axis=axis)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
