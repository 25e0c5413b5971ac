"""timm's networks; what is said where it is not installed."""

import sys
from typing import Any

import pytest
import torch

from trainables.config.model import ModelConfig
from trainables.errors import ModelError
from trainables.model.backbones import Backbone, build_backbone
from trainables.model.keyed import KeyedStochasticDepth
from trainables.model.multitask import build_model


def build(name: str, *, weights: str | None = None, **backbone: Any) -> Backbone:
    config = ModelConfig.model_validate({"backbone": {"name": name, **backbone}, "weights": weights})
    return build_backbone(config, channels=1, image_size=(32, 32))


def test_without_timm_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"pip install equipoise\[timm\]") as caught:
        build("timm:resnet18")
    assert caught.value.key == "model.backbone"


@pytest.mark.parametrize("name", ["timm:", "timm:a/b", "timm:hf-hub:x"])
def test_names_are_those_of_timm(name: str) -> None:
    with pytest.raises(ValueError, match="no name of timm's"):
        ModelConfig.model_validate({"backbone": name})


def test_channels_and_weights_are_not_arguments() -> None:
    with pytest.raises(ValueError, match=r"pretrained is not yours to set; .*model\.weights"):
        ModelConfig.model_validate({"backbone": {"name": "timm:resnet18", "arguments": {"pretrained": True}}})


@pytest.mark.parametrize(("name", "features"), [("resnet18", 512), ("vit_tiny_patch16_224", 192)])
def test_a_network_reads_the_images_there_are(name: str, features: int) -> None:
    built = build(f"timm:{name}")
    assert (built.features, built.channels, built.normalisation) == (features, 1, None)
    assert built.net.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, features)


def test_stochastic_depth_is_keyed() -> None:
    config = ModelConfig.model_validate(
        {"backbone": {"name": "timm:convnext_atto", "arguments": {"drop_path_rate": 0.4}}}
    )
    net = build_model(config, channels=1, image_size=(32, 32), outputs={"a": 3}, seed=0)
    assert any(isinstance(module, KeyedStochasticDepth) for module in net.modules())
    assert net.unkeyed_randomness((32, 32)) == []


def test_a_small_stem() -> None:
    convolution = build("timm:resnet18", stem="small").net.get_submodule("conv1")
    assert convolution.stride == (1, 1)


def test_patches_have_no_small_stem() -> None:
    with pytest.raises(ModelError, match="patches"):
        build("timm:vit_tiny_patch16_224", stem="small")


def test_a_misspelt_network_is_corrected() -> None:
    with pytest.raises(ModelError, match="Did you mean timm:resnet18"):
        build("timm:resnet_18")


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ModelError, match="wings") as caught:
        build("timm:resnet18", arguments={"wings": 2})
    assert caught.value.key == "model.backbone.arguments"


def test_published_weights_and_the_inputs_they_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub would send, classifier included."""
    import timm

    donor = timm.create_model("resnet18").state_dict()
    monkeypatch.setattr("timm.models._builder.has_hf_hub", lambda *_, **__: True)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(donor))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", lambda *_, **__: dict(donor))
    built = build("timm:resnet18", weights="default")
    assert built.channels == 3
    assert built.normalisation is not None
    assert built.normalisation[0] == (0.485, 0.456, 0.406)
    assert torch.equal(built.net.get_parameter("conv1.weight"), donor["conv1.weight"])


def test_published_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="cannot be had") as caught:
        build("timm:resnet18", weights="default")
    assert caught.value.key == "model.weights"
