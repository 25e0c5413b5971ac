"""The `model` section: the backbone, its weights and the heads."""

from typing import Literal

from pydantic import Field

from trainables.config.section import Count, Probability, Section, Text


class SmallCNN(Section):
    """Two convolutions and a narrow shared layer: seconds on one core, and tasks truly compete for its width."""

    name: Literal["small_cnn"] = "small_cnn"
    width: Count = 32
    """Units of the layer that all tasks share."""


class LeNet(Section):
    """Two 5×5 convolutions (10 and 20 channels) and a shared layer (Sener & Koltun, NeurIPS 2018)."""

    name: Literal["lenet"] = "lenet"
    width: Count = 50


class SmallImageResNet(Section):
    """ResNet with a 3×3 stride-1 stem and no max-pooling (He et al. 2016, the CIFAR form)."""

    name: Literal["small_resnet"] = "small_resnet"
    blocks: Count = 3
    """Residual blocks per stage; depth = 6·blocks + 2."""
    width: Count = 16
    """Channels of the first of three stages."""


class NamedBackbone(Section):
    """A torchvision classifier (`resnet18`) or your own (`my_pkg.nets:build`), with its keyword arguments."""

    name: Text
    arguments: dict[Text, str | int | float | bool | None] = Field(default_factory=dict)
    """Passed to the builder."""


class HeadConfig(Section):
    """From shared features to the logits of one task."""

    kind: Literal["linear", "mlp"] = "linear"
    hidden: tuple[Count, ...] = ()
    """mlp: units per hidden layer; none makes it linear."""
    dropout: Probability = 0.0
    """Before every linear layer of the head."""


BackboneConfig = SmallCNN | LeNet | SmallImageResNet | NamedBackbone


class ModelConfig(Section):
    """What is shared between the tasks and what is not."""

    backbone: BackboneConfig = SmallCNN()
    weights: Text | None = None
    """null: random. `default`: the backbone's published weights. Else a safetensors file."""
    heads: dict[Text, HeadConfig] = Field(default_factory=dict)
    """By task name; `default` for the tasks not named."""

    def head(self, task: str) -> HeadConfig:
        """The head of `task`: its own, else `default`, else linear."""
        return self.heads.get(task) or self.heads.get("default") or HeadConfig()
