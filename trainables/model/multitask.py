"""The model that is trained: a backbone that all tasks share and a head for each."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.config.heads import AttentionHead
from trainables.config.model import ModelConfig
from trainables.config.sharing import HardSharing
from trainables.model.backbones import Backbone, build_backbone
from trainables.model.heads import Head
from trainables.model.keyed import StepContext, drawing, unkeyed_randomness, use_keyed_randomness
from trainables.model.weights import require


class MultiTaskModel(nn.Module):
    """Hard parameter sharing (Caruana, 1997): one trunk, one head per task.

    `StructuredModel` is every other structure, and heads that read stages of the backbone.
    """

    shares_features = True
    """Whether `features` are read by all tasks, and everything after them belongs to one."""

    def __init__(self, backbone: Backbone, heads: Mapping[str, nn.Module], context: StepContext) -> None:
        super().__init__()
        self.backbone = backbone.net
        self.channels = backbone.channels
        self.normalisation = backbone.normalisation
        # nn.ModuleDict refuses names that nn.Module uses itself ("type", "keys"), which are good task names.
        self.heads = nn.ModuleDict({f"task_{task}": head for task, head in heads.items()})
        self.tasks = tuple(heads)
        self.context = context
        self._backbone_frozen = False
        self._parameters_of: dict[str | None, list[nn.Parameter]] = {}
        use_keyed_randomness(self, context)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised images (B, C, H, W) -> logits (B, K_t) by task."""
        return self.predict(self.features(images))

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tensors that all tasks read. Everything after them belongs to one task."""
        return (self.backbone(images),)

    def predict(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Logits by task from what `features` gave."""
        (shared,) = features
        return {task: self.heads[f"task_{task}"](shared) for task in self.tasks}

    def freeze_backbone(self) -> None:
        """Train the backbone no more: it computes as in evaluation, whatever the mode of the model."""
        self._backbone_frozen = True
        for parameter in self.backbone_parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module does; a frozen backbone stays in evaluation."""
        super().train(mode)
        if self._backbone_frozen:
            self.backbone.eval()
        return self

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that more than one task reads, without those that were frozen when it was first asked."""
        if None not in self._parameters_of:  # to walk through all modules at every step takes a millisecond
            self._parameters_of[None] = [p for p in self._shared() if p.requires_grad]
        return self._parameters_of[None]

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Parameters of one task alone, without those that were frozen when it was first asked."""
        if task not in self._parameters_of:
            self._parameters_of[task] = [p for p in self._own(task) if p.requires_grad]
        return self._parameters_of[task]

    def common_parameters(self) -> list[nn.Parameter]:
        """Those of `shared_parameters` that all tasks read, in the order in which the model was built."""
        return self.shared_parameters()

    def sharing_tasks(self) -> set[str]:
        """The tasks that read any of `shared_parameters`."""
        return set(self.tasks)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters of the backbone and its copies: neither heads nor what a structure adds."""
        return list(self.backbone.parameters())

    def backbone_names(self) -> dict[str, str]:
        """What `state_dict` calls each tensor of the backbone, by the name that the backbone alone has for it.

        Of several copies it is the first; stages that no head comes after are not there.
        """
        return {name: f"backbone.{name}" for name in self.backbone.state_dict()}

    def _shared(self) -> Iterable[nn.Parameter]:
        return self.backbone.parameters()

    def _own(self, task: str) -> Iterable[nn.Parameter]:
        return self.heads[f"task_{task}"].parameters()

    @contextmanager
    def untracked_statistics(self) -> Iterator[None]:
        """Within it, passes in training use batch statistics as always but leave the running ones alone."""
        tracking = [m for m in self.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        for module in tracking:
            module.track_running_stats = False
        try:
            yield
        finally:
            for module in tracking:
                module.track_running_stats = True

    def unkeyed_randomness(self, image_size: tuple[int, int]) -> list[str]:
        """Paths of modules whose randomness could not be keyed: with them no run can be repeated exactly."""
        return unkeyed_randomness(self, self.context, torch.zeros(2, self.channels, *image_size))


def build_model(
    config: ModelConfig,
    *,
    channels: int,
    image_size: tuple[int, int],
    outputs: Mapping[str, int],
    seed: int,
    base: Path | None = None,
    load: bool = True,
) -> MultiTaskModel:
    """Build and initialise a model; the same arguments give the same numbers, in any process.

    Backbone and heads draw from generators of their own, so the order of tasks does not matter, and no
    global generator moves. `outputs`: logits per task. `base`: where a relative `model.weights` starts. `load`: whether
    `model.weights` are loaded, as in `build_backbone`.

    Raises:
        ModelError: the backbone cannot be built or divided as `sharing` and heads need it, or its weights
            cannot be loaded.
    """
    with drawing(seed, "init", "backbone"):
        backbone = build_backbone(config, channels=channels, image_size=image_size, base=base, load=load)
    own = {task: config.head(task) for task in outputs}
    ordinary = {
        task: head for task, head in own.items() if not isinstance(head, AttentionHead) and not head.taps
    }
    if not isinstance(config.sharing, HardSharing) or len(ordinary) < len(own):
        from trainables.model.structured import build_structured

        def again() -> dict[str, torch.Tensor]:
            rebuilt = build_backbone(config, channels=channels, image_size=image_size)
            return rebuilt.net.state_dict()

        return build_structured(
            config,
            backbone,
            image_size=image_size,
            outputs=outputs,
            seed=seed,
            again=again if config.weights is None else None,
        )
    require(backbone.net.state_dict(), backbone.missing, config.weights)
    heads: dict[str, nn.Module] = {}
    for task, head in ordinary.items():
        with drawing(seed, "init", "head", task):
            heads[task] = Head(head, backbone.features, outputs[task])
    return MultiTaskModel(backbone, heads, StepContext(seed))
