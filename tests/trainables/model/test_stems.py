"""Small stems: torchvision's networks at the resolution of small images."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.config.model import ModelConfig
from trainables.errors import ModelError
from trainables.model.backbones import build_backbone


def backbone(name: str, *, stem: str = "small", weights: str | None = None, side: int = 32) -> nn.Module:
    config = {"backbone": {"name": name, "stem": stem}, "weights": weights}
    return build_backbone(ModelConfig.model_validate(config), channels=1, image_size=(side, side)).net


def last_map(net: nn.Module) -> tuple[int, ...]:
    """Height and width of what the last convolution makes of a 32×32 image."""
    seen: list[tuple[int, ...]] = []
    *_, last = (m for m in net.modules() if isinstance(m, nn.Conv2d))
    last.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[2:])))
    net.eval()(torch.zeros(1, 1, 32, 32))
    return seen[-1]


@pytest.mark.parametrize(
    ("name", "published", "small"),
    [("resnet18", 1, 4), ("mobilenet_v3_small", 1, 2), ("shufflenet_v2_x0_5", 1, 4)],
)
def test_a_small_stem_keeps_resolution(name: str, published: int, small: int) -> None:
    assert last_map(backbone(name, stem="published")) == (published, published)
    assert last_map(backbone(name)) == (small, small)


def test_the_stem_is_that_of_cifar() -> None:
    net = backbone("resnet18")
    convolution, pool = net.get_submodule("conv1"), net.get_submodule("maxpool")
    assert isinstance(convolution, nn.Conv2d)
    assert (convolution.kernel_size, convolution.stride, convolution.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(pool, nn.Identity)


def test_a_stem_that_is_small_already_keeps_its_pooling() -> None:
    ours, theirs = backbone("vgg11"), backbone("vgg11", stem="published")
    assert [type(m) for m in ours.modules()] == [type(m) for m in theirs.modules()]


@pytest.mark.parametrize(
    ("name", "side"), [("vit_b_32", 32), ("swin_t", 32), ("convnext_tiny", 32), ("maxvit_t", 224)]
)
def test_networks_of_patches_have_no_stem(name: str, side: int) -> None:
    with pytest.raises(ModelError, match="patches") as caught:
        backbone(name, side=side)
    assert caught.value.key == "model.backbone.stem"


def centre(weight: Tensor) -> Tensor:
    return weight[:, :, 2:5, 2:5]


def test_weights_of_a_file_keep_their_centre(tmp_path: Path) -> None:
    donor = backbone("resnet18", stem="published")
    save_file(dict(donor.state_dict()), tmp_path / "published.safetensors")
    net = backbone("resnet18", weights=str(tmp_path / "published.safetensors"))
    assert torch.equal(net.get_parameter("conv1.weight"), centre(donor.get_parameter("conv1.weight")))
    assert torch.equal(
        net.get_parameter("layer1.0.conv1.weight"), donor.get_parameter("layer1.0.conv1.weight")
    )
    save_file(dict(net.state_dict()), tmp_path / "small.safetensors")
    again = backbone("resnet18", weights=str(tmp_path / "small.safetensors"))
    assert torch.equal(again.get_parameter("conv1.weight"), net.get_parameter("conv1.weight"))


def test_published_weights_keep_their_centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    donor = models.resnet18(weights=None)
    file = models.get_model_weights("resnet18").DEFAULT.url.rsplit("/", 1)[1]
    (tmp_path / "checkpoints").mkdir()
    torch.save(donor.state_dict(), tmp_path / "checkpoints" / file)
    net = backbone("resnet18", weights="default")
    assert torch.equal(net.get_parameter("conv1.weight"), centre(donor.conv1.weight))


def test_the_stem_of_your_own_network_is_yours() -> None:
    with pytest.raises(ValueError, match="your own is what you build"):
        ModelConfig.model_validate({"backbone": {"name": "nets:build", "stem": "small"}})
