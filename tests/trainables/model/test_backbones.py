"""Every backbone turns images into (B, F) features, whatever the size and channels of the images."""

import difflib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.config.backbone_names import TORCHVISION_BACKBONES
from trainables.config.model import ModelConfig
from trainables.errors import ModelError
from trainables.model import torchvision_backbones
from trainables.model.backbones import Backbone, build_backbone
from trainables.model.multitask import MultiTaskModel, build_model
from trainables.training.state import ModelState, save_state

FAST = (
    "resnet18",
    "mobilenet_v3_small",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "regnet_x_400mf",
)


def model(backbone: Any, **other: Any) -> ModelConfig:
    return ModelConfig.model_validate({"backbone": backbone, **other})


def features(built: Backbone, size: tuple[int, int]) -> Tensor:
    images = torch.rand(2, built.channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out: Tensor = built.net.eval()(images)
    assert out.shape == (2, built.features)
    assert out.isfinite().all()
    return out


@pytest.mark.parametrize("name", ["small_cnn", "lenet", "small_resnet"])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (8, 8), (28, 28), (36, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_own_backbones_read_any_size(name: str, size: tuple[int, int], channels: int) -> None:
    features(build_backbone(model(name), channels=channels, image_size=size), size)


def test_lenet_is_the_published_one() -> None:
    net = build_backbone(model("lenet"), channels=1, image_size=(28, 28)).net
    assert {name: tuple(p.shape) for name, p in net.named_parameters() if name.endswith("weight")} == {
        "conv1.weight": (10, 1, 5, 5),
        "conv2.weight": (20, 10, 5, 5),
        "shared.weight": (50, 320),
    }


def test_small_resnet_has_its_depth() -> None:
    net = build_backbone(model({"name": "small_resnet", "blocks": 3}), channels=3, image_size=(32, 32)).net
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(layers) + 1 == 20  # with the classifier


def test_the_list_of_names_is_torchvisions() -> None:
    from torchvision import models

    assert list(TORCHVISION_BACKBONES) == models.list_models(module=models)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_classifiers(name: str, channels: int) -> None:
    features(build_backbone(model(name), channels=channels, image_size=(36, 36)), (36, 36))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in TORCHVISION_BACKBONES if n not in FAST])
def test_all_torchvision_classifiers(name: str) -> None:
    side = 224 if name.startswith("maxvit") else 96
    built = build_backbone(model(name), channels=1, image_size=(side, side))
    features(built, (side, side))
    assert not any(isinstance(m, nn.Linear) and m.out_features == 1000 for m in built.net.modules())


def test_a_grey_image_is_read_like_its_repetition() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        grey = build_backbone(model("resnet18"), channels=1, image_size=(40, 40))
        torch.manual_seed(0)
        colour = build_backbone(model("resnet18"), channels=3, image_size=(40, 40))
    images = torch.rand(2, 1, 40, 40)
    with torch.no_grad():
        ours, theirs = grey.net.eval()(images), colour.net.eval()(images.expand(-1, 3, -1, -1))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_transformer_reads_sizes_that_are_no_multiple_of_its_patches() -> None:
    features(build_backbone(model("vit_b_32"), channels=3, image_size=(40, 36)), (40, 36))


def test_images_too_small_for_a_classifier_are_told_what_would_do() -> None:
    with pytest.raises(ModelError, match=r"alexnet cannot read 28×28 images.*image_size to 64") as caught:
        build_backbone(model("alexnet"), channels=3, image_size=(28, 28))
    assert caught.value.key == "model.backbone"


def test_arguments_reach_the_builder_and_wrong_ones_are_named() -> None:
    built = build_backbone(
        model({"name": "resnet18", "arguments": {"zero_init_residual": True}}),
        channels=3,
        image_size=(32, 32),
    )
    assert not built.net.get_parameter("layer1.0.bn2.weight").any()
    with pytest.raises(ModelError, match="zero_init") as caught:
        build_backbone(
            model({"name": "resnet18", "arguments": {"zero_init": 1}}), channels=3, image_size=(32, 32)
        )
    assert caught.value.key == "model.backbone.arguments"


@pytest.mark.parametrize("typo", ["resnt18", "ResNet18", "efficientnet-b0", "smal_cnn"])
def test_unknown_names_are_told_the_nearest(typo: str) -> None:
    near = difflib.get_close_matches(typo.lower(), ("small_cnn", *TORCHVISION_BACKBONES), 1)[0]
    with pytest.raises(ValidationError, match=f"did you mean '{near}'"):
        model(typo)


def test_text_is_the_name_alone() -> None:
    for name in ("small_cnn", "lenet", "small_resnet", "resnet18", "my_pkg.nets:build"):
        assert model(name) == model({"name": name})
        assert ModelConfig.model_validate(model(name).model_dump(mode="json")) == model(name)


class Own(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.linear(images.mean((2, 3)))
        return out


def build(channels: int, image_size: tuple[int, int], width: int = 7) -> nn.Module:
    assert image_size == (6, 8)
    return Own(channels, width)


def build_maps(channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Conv2d(channels, 4, 3)


def build_number(channels: int, image_size: tuple[int, int]) -> object:
    return channels


def own(function: str, **arguments: Any) -> ModelConfig:
    return model({"name": f"tests.trainables.model.test_backbones:{function}", "arguments": arguments})


def test_your_own_network() -> None:
    assert build_backbone(own("build"), channels=1, image_size=(6, 8)).features == 7
    assert build_backbone(own("build", width=9), channels=3, image_size=(6, 8)).features == 9


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (own("build", depth=3), "unexpected keyword argument 'depth'"),
        (own("build_maps"), r"into \(2, F\) features"),
        (own("build_number"), "not an nn.Module"),
        (own("missing"), "has no 'missing'"),
        (model("no_such_package.nets:build"), "cannot be imported"),
    ],
)
def test_your_own_mistakes_are_named(config: ModelConfig, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build_backbone(config, channels=1, image_size=(6, 8))


def multitask(config: ModelConfig, seed: int = 0, tasks: tuple[str, ...] = ("a", "b")) -> MultiTaskModel:
    return build_model(config, channels=1, image_size=(12, 12), outputs=dict.fromkeys(tasks, 3), seed=seed)


def test_weights_from_a_file(tmp_path: Path) -> None:
    donor = multitask(model("small_cnn"), seed=5)
    save_file(donor.backbone.state_dict(), tmp_path / "backbone.safetensors")
    save_file(donor.state_dict(), tmp_path / "model.safetensors")
    for file in ("backbone.safetensors", "model.safetensors"):
        loaded = multitask(model("small_cnn", weights=str(tmp_path / file)))
        for name, tensor in donor.backbone.state_dict().items():
            assert torch.equal(loaded.backbone.state_dict()[name], tensor)
    with pytest.raises(ModelError, match=r"shared\.weight is \[32, 144\], not \[16, 144\]"):
        multitask(model({"name": "small_cnn", "width": 16}, weights=str(tmp_path / "model.safetensors")))
    with pytest.raises(ModelError, match=r"none.safetensors are not there. Bring them back, or name others."):
        multitask(model("small_cnn", weights=str(tmp_path / "none.safetensors")))


def test_weights_that_were_kept_here_and_damaged_since_are_refused(tmp_path: Path) -> None:
    save_state(ModelState(multitask(model("small_cnn")).state_dict()), tmp_path)
    file = tmp_path / "state.safetensors"
    config = model("small_cnn", weights=str(file))
    multitask(config)
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"not what was written \(CRC-32\)\. Restore it from a copy"):
        multitask(config)


def test_a_model_trained_here_says_how_its_inputs_are_normalised(tmp_path: Path) -> None:
    """Grey images are repeated for a model that read colours."""
    config = model("small_cnn", weights=str(tmp_path / "model.safetensors"))
    donor = build_backbone(model("small_cnn"), channels=3, image_size=(12, 12)).net
    tensors = {f"backbone.{name}": tensor for name, tensor in donor.state_dict().items()}
    meta = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    save_file(tensors, tmp_path / "model.safetensors", {"meta": json.dumps(meta)})
    built = build_backbone(config, channels=1, image_size=(12, 12))
    assert built.channels == 3
    assert built.normalisation == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in torch's cache are used as they are; offline without them the error says where they belong."""
    from torchvision import models

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"cannot be had.*checkpoints") as caught:
        build_backbone(model("squeezenet1_1", weights="default"), channels=1, image_size=(40, 40))
    assert caught.value.key == "model.weights"
    donor = models.squeezenet1_1(weights=None)
    weights = models.get_model_weights("squeezenet1_1").DEFAULT
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    torch.save(donor.state_dict(), tmp_path / "checkpoints" / weights.url.rsplit("/", 1)[1])
    built = build_backbone(model("squeezenet1_1", weights="default"), channels=1, image_size=(40, 40))
    assert built.channels == 3  # grey images are repeated, and normalised as the weights expect
    assert built.normalisation is not None
    assert built.normalisation[0] == (0.485, 0.456, 0.406)
    assert torch.equal(built.net.state_dict()["features.0.weight"], donor.state_dict()["features.0.weight"])
    with pytest.raises(ModelError, match="no published weights for small_cnn"):
        multitask(model("small_cnn", weights="default"))


def test_what_published_weights_need_is_built_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a state, which has the weights, finds its network."""

    def none(*arguments: object) -> None:
        raise AssertionError("nothing is to be loaded")

    monkeypatch.setattr(torchvision_backbones, "_published_weights", none)
    config = model("googlenet", weights="default")
    built = build_backbone(config, channels=3, image_size=(64, 64), load=False)
    assert getattr(built.net, "transform_input") is True  # noqa: B009 nn.Module has no such attribute
    assert built.normalisation is not None


def test_initial_weights_do_not_depend_on_the_order_of_tasks() -> None:
    ours, theirs = multitask(model("small_cnn")), multitask(model("small_cnn"), tasks=("b", "a"))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name])
    another = multitask(model("small_cnn"), seed=1).state_dict()
    assert not torch.equal(another["backbone.conv1.weight"], ours.state_dict()["backbone.conv1.weight"])


def test_tasks_may_be_called_like_attributes_of_a_module() -> None:
    net = multitask(model("small_cnn"), tasks=("type", "keys", "training", "forward"))
    assert set(net(torch.zeros(2, 1, 12, 12))) == {"type", "keys", "training", "forward"}
