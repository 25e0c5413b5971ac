"""The model that is trained: a backbone that all tasks share and a head for each."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainables.config.model import ModelConfig
from trainables.model.backbones import build_backbone
from trainables.model.heads import Head
from trainables.model.keyed import StepContext, derived_seed, use_keyed_randomness


class MultiTaskModel(nn.Module):
    """Hard parameter sharing (Caruana, 1997): one trunk, one head per task."""

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module], context: StepContext) -> None:
        super().__init__()
        self.backbone = backbone
        # nn.ModuleDict refuses names that nn.Module uses itself ("type", "keys"), which are good task names.
        self.heads = nn.ModuleDict({f"task_{task}": head for task, head in heads.items()})
        self.tasks = tuple(heads)
        self.context = context
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

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that more than one task reads."""
        return list(self.backbone.parameters())

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Parameters of one task alone."""
        return list(self.heads[f"task_{task}"].parameters())


def build_model(
    config: ModelConfig, *, channels: int, image_size: tuple[int, int], outputs: Mapping[str, int], seed: int
) -> MultiTaskModel:
    """Build and initialise a model; the same arguments give the same numbers, in any process.

    Backbone and heads draw from generators of their own, so the order of tasks does not matter, and no
    global generator moves. `outputs`: logits per task.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, "init", "backbone"))
        backbone, features = build_backbone(config, channels=channels, image_size=image_size)
        heads: dict[str, nn.Module] = {}
        for task, count in outputs.items():
            torch.default_generator.manual_seed(derived_seed(seed, "init", "head", task))
            heads[task] = Head(config.head(task), features, count)
    return MultiTaskModel(backbone, heads, StepContext(seed))
