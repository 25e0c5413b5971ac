"""The `model` section: the backbone, its weights, what is shared of it and the heads."""

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from trainables.config.backbone_names import TORCHVISION_BACKBONES
from trainables.config.heads import AttentionHead, HeadConfig, LinearHead, MLPHead
from trainables.config.section import Count, Section, Text
from trainables.config.sharing import HardSharing, SharingConfig

COSTS = ("parameters", "flops", "latency_ms")
"""What is known of every model before it is trained; objectives name them `model.parameters` and so on."""


EARLIER_RUN = re.compile(r"runs:/(?P<run>[A-Za-z0-9][\w.-]*)(/(?P<trial>\w+))?")
"""`model.weights` of an earlier run: MLflow's run id, or the id of a search or training and a trial of it."""


class SmallCNN(Section):
    """Two convolutions and a narrow shared layer: seconds on one core, and tasks compete for its width."""

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
    """A network of torchvision (`resnet18`), timm (`timm:resnet18`) or yours (`my_pkg.nets:build`)."""

    name: Text
    """Your own is called as `build(channels=…, image_size=(height, width), **arguments)` and returns an
    nn.Module that turns (B, C, H, W) images into (B, F) features."""
    arguments: dict[Text, str | int | float | bool | None] = Field(default_factory=dict)
    """Passed to the builder."""
    stem: Literal["published", "small"] = "published"
    """small, for small images: the first convolution becomes 3×3 with stride 1, and the max-pooling after it
    is dropped. Weights that are loaded keep their centre."""

    @property
    def is_published(self) -> bool:
        """Whether it is a network of torchvision or timm, which may have published weights."""
        return ":" not in self.name or self.name.startswith("timm:")

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.name.startswith("timm:"):
            if not re.fullmatch(r"timm:\w+(\.\w+)?", self.name):
                raise ValueError(f"{self.name!r} is no name of timm's; write it as timm:resnet18")
            given = {"pretrained", "num_classes", "in_chans"}
        elif ":" in self.name:
            if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", self.name):
                raise ValueError(f"{self.name!r} is no function; write it as package.module:function")
            given = {"channels", "image_size"}
            if self.stem != "published":
                raise ValueError("stem is of torchvision's and timm's networks; your own is what you build")
        elif self.name in TORCHVISION_BACKBONES:
            given = {"weights", "num_classes"}
        else:
            known = (*OWN_BACKBONES, *TORCHVISION_BACKBONES)
            near = difflib.get_close_matches(self.name.lower(), known, 1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"unknown backbone {self.name!r}; {guess}Known are {', '.join(OWN_BACKBONES)}, torchvision's "
                "classifiers (resnet18, efficientnet_b0, …), timm's (timm:resnet18) and your own as "
                "package.module:function"
            )
        if taken := sorted(given & self.arguments.keys()):
            cure = (
                "; the weights to start from are `model.weights`"
                if {"weights", "pretrained"} & set(taken)
                else ""
            )
            raise ValueError(f"arguments: {', '.join(taken)} is not yours to set{cure}")
        return self


OWN_BACKBONES = ("small_cnn", "lenet", "small_resnet")


def _meant_backbone(value: Any) -> str:
    """Which kind of backbone a value means; without a name, the default's, small_cnn."""
    name = value.get("name", "small_cnn") if isinstance(value, dict) else getattr(value, "name", None)
    return name if name in OWN_BACKBONES else "named"


def _name_alone(value: Any) -> Any:
    """`backbone: resnet18` is `backbone: {name: resnet18}`."""
    return {"name": value} if isinstance(value, str) else value


_AnyBackbone = (
    Annotated[SmallCNN, Tag("small_cnn")]
    | Annotated[LeNet, Tag("lenet")]
    | Annotated[SmallImageResNet, Tag("small_resnet")]
    | Annotated[NamedBackbone, Tag("named")]
)
BackboneConfig = Annotated[
    Annotated[_AnyBackbone, Discriminator(_meant_backbone)],
    BeforeValidator(
        _name_alone, json_schema_input_type=Text | SmallCNN | LeNet | SmallImageResNet | NamedBackbone
    ),
]


class ModelConfig(Section):
    """What is shared between the tasks and what is not."""

    backbone: BackboneConfig = SmallCNN()
    weights: Text | None = None
    """null: random. `default`: the backbone's published weights. `runs:/ID`: those that an earlier run of this
    project kept, by MLflow's run id or as `runs:/<search>/<trial>`. Else a safetensors file."""
    sharing: SharingConfig = HardSharing()
    """What tasks share of the backbone."""
    heads: dict[Text, HeadConfig] = Field(default_factory=dict)
    """By task name; `default` for the tasks not named."""

    @field_validator("weights")
    @classmethod
    def _names_a_run(cls, weights: str | None) -> str | None:
        if weights is not None and weights.startswith("runs:") and not EARLIER_RUN.fullmatch(weights):
            raise ValueError(
                f"{weights!r} names no run; write runs:/<search>/<trial> or runs:/<MLflow run id>"
            )
        return weights

    def head(self, task: str) -> LinearHead | MLPHead | AttentionHead:
        """The head of `task`: its own, else `default`, else linear."""
        return self.heads.get(task) or self.heads.get("default") or LinearHead()

    def shares_features(self, tasks: Iterable[str]) -> bool:
        """Whether there are tensors that all `tasks` read and after which everything belongs to one of them."""
        read = {(head.taps, head.kind == "attention") for head in map(self.head, tasks)}
        return self.sharing.shares_features and len(read) < 2
