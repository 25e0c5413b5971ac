"""Backbones as chains of stages: composed, they are the network, and every stage can be read and copied."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.config.model import ModelConfig
from trainables.errors import ModelError
from trainables.model.backbones import build_backbone
from trainables.model.batch_norm import use_global_batch_norm
from trainables.model.keyed import StepContext, unkeyed_randomness, use_keyed_randomness
from trainables.model.stages import FeatureShape, Stages
from trainables.model.tracing import split_backbone
from trainables.training.world import World

OWN = ("small_cnn", "lenet", "small_resnet", "tests.contracts.nets:residual")
FAST = (
    "resnet18",
    "mobilenet_v3_small",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "regnet_x_400mf",
)
SLOW = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mobilenet_v2",
    "resnext50_32x4d",
    "swin_t",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_32",
    "wide_resnet50_2",
)
SIDES = {"inception_v3": 128, "maxvit_t": 224}


def network(name: str, seed: int = 0) -> tuple[nn.Module, int]:
    side = SIDES.get(name, 14 if name in OWN else 64)
    config = ModelConfig.model_validate({"backbone": name})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_backbone(config, channels=1, image_size=(side, side)).net, side


def split(net: nn.Module, side: int, name: str = "net") -> Stages:
    return split_backbone(net, name=name, channels=1, image_size=(side, side))


def assert_composes(name: str) -> None:
    net, side = network(name)
    twin, _ = network(name)
    stages = split(net, side, name)
    assert len(stages) > 2
    assert len(set(stages.names)) == len(stages)
    assert all(stages.learned[:-1])
    composed = nn.Sequential(*stages.parts)
    assert {id(p) for p in composed.parameters()} == {id(p) for p in net.parameters()}
    images = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(2))
    x = images
    for part, shape in zip(stages.parts, stages.shapes, strict=True):
        x = part.eval()(x)
        assert tuple(x.shape) == (3, *shape.sizes)
        assert shape.pooled(x).shape == (3, shape.channels)
        assert shape.tokens(x).shape == (3, shape.count, shape.channels)
    for training in (False, True):
        features = []
        for module in (composed.train(training), twin.train(training)):
            with torch.random.fork_rng():
                torch.manual_seed(5)
                features.append(module(images))
            features[-1].square().sum().backward()
        assert torch.equal(*features), training
    theirs = dict(twin.named_parameters())
    for parameter, p in net.named_parameters():
        assert (p.grad is None) == (theirs[parameter].grad is None)
        if p.grad is not None:
            assert torch.equal(p.grad, theirs[parameter].grad), parameter  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*OWN, *FAST])
def test_stages_compose_to_the_network_forward_and_backward(name: str) -> None:
    assert_composes(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_stages_of_every_family_of_torchvision_compose_to_the_network(name: str) -> None:
    assert_composes(name)


def test_stages_are_the_resolutions_of_a_network() -> None:
    stages = split(*network("resnet18"))
    assert stages.names == ("conv1", "layer1", "layer2", "layer3", "layer4", "tail")
    assert [shape.sizes for shape in stages.shapes[:2]] == [(64, 32, 32), (64, 16, 16)]
    assert stages.last_map == 4
    assert stages.learned == (True,) * 5 + (False,)
    assert split(*network("small_cnn")).names == ("conv1", "conv2", "shared")


@pytest.mark.slow
def test_channels_are_found_wherever_they_are() -> None:
    swin = split(*network("swin_t"))
    assert swin.shapes[0] == FeatureShape((16, 16, 96), 2)
    vit = split(*network("vit_b_32"))
    assert [shape.channels for shape in vit.shapes] == [768] * len(vit)
    assert len(vit) > 4  # cut between its layers
    maxvit = split(*network("maxvit_t"))  # of one size; windows of its maps are no maps
    assert [shape.sizes[0] for shape in maxvit.shapes] == [64, 64, 128, 256, 512, 512]


def test_what_is_replaced_when_a_model_is_built_is_replaced_in_stages() -> None:
    net, side = network("mobilenet_v3_small")
    residual, small = network("tests.contracts.nets:residual")
    context = StepContext(0)
    images = torch.rand(2, 1, side, side)
    for split_net, pixels in ((split(net, side), images), (split(residual, small), images[..., :14, :14])):
        parts = nn.Sequential(*split_net.parts)
        use_keyed_randomness(parts, context)
        assert unkeyed_randomness(parts, context, pixels) == []
        use_global_batch_norm(parts, World(0, 2, torch.device("cpu")), context)
        assert not any(type(m) in (nn.BatchNorm2d, nn.Dropout, nn.Dropout2d) for m in parts.modules())
        kinds = {type(m).__name__ for m in parts.modules()}
        assert kinds >= {"KeyedDropout", "GlobalBatchNorm"} or kinds >= {
            "KeyedChannelDropout",
            "KeyedStochasticDepth",
        }


class Own(nn.Module):
    """A user's network, with something that a tracer may not follow."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.conv = nn.Conv2d(1, 4, 3)
        self.again = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        match self.what:
            case "control flow":
                x = x if x.sum() > 0 else -x
            case "training":
                x = x * 2 if self.training else x
            case "draws":
                x = x + torch.rand(4, 1, 1)
            case "in place":
                x.add_(1)
            case "functional dropout":
                x = functional.dropout(x, 0.5, self.training)
            case "inplace argument":
                x = functional.relu(x, inplace=True)
        x = self.again(x)
        features: Tensor = x.mean((2, 3))
        return features


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("control flow", "cannot be traced"),
        ("training", "something else in training"),
        ("functional dropout", "something else in training"),
        ("draws", "draws random numbers"),
        ("in place", r"in place \(add_\)"),
    ],
)
def test_a_network_that_is_no_chain_is_refused_with_a_way_out(what: str, said: str) -> None:
    with pytest.raises(
        ModelError, match=rf"net cannot be divided into stages: .*{said}.*kind: hard"
    ) as caught:
        split(Own(what), 8)
    assert caught.value.key == "model.sharing"


class Masked(Own):
    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(images)


class Entangled(Own):
    """Its last layer reads the images again."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + images.mean((2, 3))


@pytest.mark.parametrize(
    ("net", "said"), [(Masked(""), "more than images"), (Entangled(""), "no layer through which everything")]
)
def test_a_network_of_another_form_is_refused(net: nn.Module, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        split(net, 8)


def test_stages_leave_what_they_read_as_it_is() -> None:
    stages = split(Own("inplace argument"), 8)
    x = torch.randn(2, 1, 8, 8)
    for part in stages.parts:
        before = x.clone()
        after = part(x)
        assert torch.equal(x, before)
        x = after


def test_what_is_used_twice_is_in_one_stage() -> None:
    stages = split(*network("tests.contracts.nets:residual"))
    names: list[Any] = [n for part in stages.parts for n in part.state_dict()]
    assert len(names) == len(set(names))


def test_stages_are_named_by_number_or_name() -> None:
    stages = split(*network("small_cnn"))
    assert [stages.index(stage, "k") for stage in (1, "conv2", 3)] == [0, 1, 2]
    assert [stages.depth(stage, "k") for stage in (0, 1, "shared")] == [0, 1, 3]
    for wrong in (4, "conv3"):
        with pytest.raises(ModelError, match="Its stages are 1 conv1, 2 conv2, 3 shared"):
            stages.index(wrong, "k")
