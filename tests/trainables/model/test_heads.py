"""Heads that read stages: what they compute, and what is told of stages that there are not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.structures import CNN, HEADS, SHARING
from trainables.config.model import ModelConfig
from trainables.errors import ModelError
from trainables.model.multitask import MultiTaskModel, build_model
from trainables.model.stages import FeatureShape
from trainables.model.structured import StructuredModel
from trainables.model.tapped_heads import AttentionPooling, Fusion, build_tapped_head

MAP, VECTOR = FeatureShape((4, 3, 3), 0), FeatureShape((6,), 0)


def head(section: dict[str, Any], *shapes: FeatureShape) -> nn.Module:
    config = ModelConfig.model_validate({"heads": {"a": section}}).head("a")
    return build_tapped_head("a", config, shapes, 2)


def built(backbone: Any = CNN, **section: Any) -> MultiTaskModel:
    config = ModelConfig.model_validate({"backbone": backbone, **section})
    return build_model(config, channels=1, image_size=(12, 12), outputs={"a": 2, "b": 3}, seed=0)


def tensors(*shapes: FeatureShape, batch: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, *shape.sizes, generator=generator) for shape in shapes]


@pytest.mark.parametrize("fuse", ["concat", "sum"])
def test_stages_are_pooled_and_fused(fuse: Any) -> None:
    fusion = Fusion([MAP, VECTOR], fuse)
    x, y = tensors(MAP, VECTOR)
    out = fusion([x, y])
    assert out.shape == (5, fusion.out_features) == (5, 10 if fuse == "concat" else 6)
    if fuse == "concat":
        assert torch.equal(out, torch.cat([x.mean((2, 3)), y], 1))


@pytest.mark.parametrize("section", [{}, {"queries": 3, "heads": 2}, {"positions": True}], ids=str)
def test_attention_reads_every_place(section: dict[str, Any]) -> None:
    pooling = head({"kind": "attention", **section}, MAP)
    (x,) = tensors(MAP)
    x.requires_grad_()
    out: Tensor = pooling(x)
    assert out.shape == (5, 2)
    torch.autograd.backward(out.square().sum())
    assert x.grad is not None
    assert (x.grad.abs().sum(1) > 0).all()
    assert all(p.grad is not None for p in pooling.parameters())


def test_attention_without_positions_does_not_know_where_things_are() -> None:
    pooling, placed = (head({"kind": "attention", "positions": on}, MAP).double() for on in (False, True))
    (x,) = tensors(MAP)
    x = x.double()
    assert torch.allclose(pooling(x), pooling(x.flip(2)))
    assert not torch.allclose(placed(x), placed(x.flip(2)))


def test_equal_places_are_averaged_by_attention() -> None:
    pooling = head({"kind": "attention"}, MAP)
    assert isinstance(pooling, AttentionPooling)
    x = tensors(FeatureShape((4, 1, 1), 0))[0].expand(-1, -1, 3, 3)
    keys_and_values = pooling.keys_and_values(pooling.norm(x[:, :, 0, 0]))
    expected = pooling.linear(keys_and_values[:, 4:])
    assert torch.allclose(pooling(x), expected, atol=1e-6)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("sharing", ["hard", *SHARING])
def test_every_head_reads_every_structure(sharing: str, heads: str) -> None:
    named = {"shape": "a", "bright": "b", "marks": "b"}
    own = {named.get(task, task): section for task, section in HEADS[heads].items()}
    structure = SHARING.get(sharing, {"kind": "hard"})
    if isinstance(structure.get("at"), dict):
        structure = structure | {"at": {"default": "conv2", "a": 0}}
    model = built(sharing=structure, heads=own).train()
    model.context.begin(0, 0, 0, 4, 4)
    logits = model(torch.rand(4, 1, 12, 12))
    assert {task: tuple(x.shape) for task, x in logits.items()} == {"a": (4, 2), "b": (4, 3)}
    assert all(x.isfinite().all() for x in logits.values())


def test_a_tap_at_the_end_is_the_ordinary_head() -> None:
    images = torch.rand(4, 1, 12, 12)
    ordinary, tapped = built().eval(), built(heads={"default": {"tap": 3}}).eval()
    assert isinstance(tapped, StructuredModel)
    for task, logits in ordinary(images).items():
        assert torch.equal(logits, tapped(images)[task])


def test_ordinary_heads_of_hard_sharing_trace_nothing() -> None:
    model = built(heads={"default": {"kind": "mlp", "hidden": [4], "norm": "batch"}})
    assert type(model) is MultiTaskModel
    assert {"backbone.conv1.weight", "heads.task_a.layers.0.weight"} <= set(model.state_dict())


@pytest.mark.parametrize(
    ("section", "key", "said"),
    [
        ({"heads": {"b": {"tap": 4}}}, "model.heads.b.tap", "1 conv1, 2 conv2, 3 shared"),
        ({"heads": {"default": {"tap": ["conv1", "conv3"]}}}, "model.heads.default.tap", "no stage 'conv3'"),
        ({"heads": {"a": {"kind": "attention", "heads": 3}}}, "model.heads.a.heads", "16 channels.*1, 2, 4"),
    ],
)
def test_mistakes_are_told_with_what_is_possible(section: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        built(**section)
    assert caught.value.key == key
