"""A model whose backbone is a structure of stages."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Self

from torch import Tensor, nn

from trainables.config.heads import AttentionHead
from trainables.config.model import ModelConfig
from trainables.model.backbones import Backbone
from trainables.model.keyed import StepContext, drawing
from trainables.model.multitask import MultiTaskModel
from trainables.model.sharing.blueprint import Blueprint
from trainables.model.sharing.build import build_structure
from trainables.model.sharing.structure import Addition, SharingStructure
from trainables.model.stages import Stages
from trainables.model.tapped_heads import build_tapped_head
from trainables.model.tracing import Stage, split_backbone
from trainables.model.weights import require


class StructuredModel(MultiTaskModel):
    """A structure, and for each task a head that reads what the structure gives it."""

    backbone: SharingStructure

    def __init__(
        self,
        backbone: Backbone,
        structure: SharingStructure,
        heads: Mapping[str, nn.Module],
        context: StepContext,
    ) -> None:
        super().__init__(replace(backbone, net=structure), heads, context)
        self.shares_features = structure.shares_features
        self._read_by: dict[nn.Parameter, set[str]] = {}

    def train(self, mode: bool = True) -> Self:
        """As nn.Module does; of a frozen backbone's structure, what was added to it goes on learning."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, Addition):
                module.train(mode)
        return self

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tensors that all tasks read; where not `shares_features`, any others."""
        return self.backbone.features(images)

    def predict(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Logits by task from what `features` gave."""
        readings = self.backbone.read(features)
        return {task: self.heads[f"task_{task}"](*readings[task]) for task in self.tasks}

    def common_parameters(self) -> list[nn.Parameter]:
        """Those of `shared_parameters` that all tasks read, in the order in which the model was built."""
        readers = self._readers()
        return [p for p in self.shared_parameters() if readers[p] == set(self.tasks)]

    def sharing_tasks(self) -> set[str]:
        """The tasks that read any of `shared_parameters`: not those with a whole backbone of their own."""
        readers = self._readers()
        return {task for p in self.shared_parameters() for task in readers[p]}

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters of the backbone and its copies: neither heads nor what the structure adds."""
        added = {p for module in self.modules() if isinstance(module, Addition) for p in module.parameters()}
        return [p for p in self.backbone.parameters() if p not in added]

    def backbone_names(self) -> dict[str, str]:
        """As `MultiTaskModel.backbone_names`."""
        names: dict[str, str] = {}
        for path, module in self.named_modules():
            if isinstance(module, Stage):
                for name in module.state_dict():
                    names.setdefault(name, f"{path}.{name}")
        return names

    def _readers(self) -> dict[nn.Parameter, set[str]]:
        """The tasks whose losses depend on each parameter of the structure; looked for once."""
        if not self._read_by:
            self._read_by = {p: set() for p in self.backbone.parameters()}
            for task in self.tasks:
                for module in self.backbone.modules_of(task):
                    for parameter in module.parameters():
                        self._read_by[parameter].add(task)
        return self._read_by

    def _shared(self) -> Iterable[nn.Parameter]:
        # A task alone shares the whole structure with nobody, as it would with others.
        return [p for p, tasks in self._readers().items() if len(tasks) > 1 or len(self.tasks) == 1]

    def _own(self, task: str) -> Iterable[nn.Parameter]:
        alone = (p for p, tasks in self._readers().items() if tasks == {task} and len(self.tasks) > 1)
        return [*alone, *super()._own(task)]


def build_structured(
    config: ModelConfig,
    backbone: Backbone,
    *,
    image_size: tuple[int, int],
    outputs: Mapping[str, int],
    seed: int,
    again: Callable[[], Mapping[str, Tensor]] | None,
) -> StructuredModel:
    """Divide `backbone` into stages and build the structure and the heads that `config` describes.

    `outputs`: logits per task. `again`: draws the initial weights of another copy of the backbone; None where
    copies begin alike, with weights that were loaded.

    Raises:
        ModelError: the backbone cannot be divided, or there is no such stage.
    """
    name = config.backbone.name
    stages = split_backbone(backbone.net, name=name, channels=backbone.channels, image_size=image_size)
    taps = {task: tapped_parts(config, task, stages) for task in outputs}
    deepest = max(own[-1] for own in taps.values())
    needed = [name for part in stages.parts[: deepest + 1] for name in part.state_dict()]
    require(needed, backbone.missing, config.weights)
    structure = build_structure(config.sharing, Blueprint(stages, seed, again), taps)
    heads: dict[str, nn.Module] = {}
    for task, count in outputs.items():
        shapes = [stages.shapes[part] for part in taps[task]]
        with drawing(seed, "init", "head", task):
            heads[task] = build_tapped_head(task, config.head(task), shapes, count)
    return StructuredModel(backbone, structure, heads, StepContext(seed))


def tapped_parts(config: ModelConfig, task: str, stages: Stages) -> tuple[int, ...]:
    """The parts that the head of `task` reads, rising."""
    head = config.head(task)
    if not head.taps:
        return (stages.last_map if isinstance(head, AttentionHead) else len(stages) - 1,)
    name = task if task in config.heads else "default"
    return tuple(sorted({stages.index(stage, f"model.heads.{name}.tap") for stage in head.taps}))
