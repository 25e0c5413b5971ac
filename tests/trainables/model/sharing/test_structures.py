"""Laws of model structures: what they equal at their ends, who reads which parameter, what is partial."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.contracts.structures import CNN, HEADS, RESNET, SHARING, STRUCTURES
from trainables.config.model import ModelConfig
from trainables.errors import ModelError
from trainables.model.multitask import MultiTaskModel, build_model
from trainables.model.sharing.structure import Addition, SharingStructure

OUTPUTS = {"shape": 3, "bright": 1, "marks": 4}
IMAGES = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(1))
WEIGHTS = {"shape": 0.3, "bright": 2.0, "marks": 0.7}


def built(sharing: Any = None, backbone: Any = CNN, *, tasks: Any = OUTPUTS, **other: Any) -> MultiTaskModel:
    section = {"backbone": backbone, **({"sharing": sharing} if sharing else {}), **other}
    config = ModelConfig.model_validate(section)
    outputs = {task: OUTPUTS[task] for task in tasks}
    model = build_model(config, channels=1, image_size=(12, 12), outputs=outputs, seed=3)
    model.double().train().context.begin(0, 0, 0, len(IMAGES), len(IMAGES))
    return model


def losses(model: MultiTaskModel) -> dict[str, Tensor]:
    return {task: logits.square().sum() for task, logits in model(IMAGES.double()).items()}


def same(ours: MultiTaskModel, theirs: MultiTaskModel) -> bool:
    """Whether the two models compute the same, whatever their backbones are; heads begin alike."""
    a, b = ours(IMAGES.double()), theirs(IMAGES.double())
    return all(torch.equal(a[task], b[task]) for task in a)


@pytest.mark.parametrize("backbone", [CNN, RESNET], ids=["small_cnn", "small_resnet"])
@pytest.mark.parametrize(
    "sharing",
    [
        {"kind": "branching", "at": 3},
        {"kind": "branching", "at": {"default": 3, "shape": 3}},
        {"kind": "mmoe", "experts": 1},
        {"kind": "mmoe", "at": 0, "experts": 1},
        {"kind": "mmoe", "at": 3},
        {"kind": "ple", "at": 3},
        {"kind": "film"},
        {"kind": "adapters"},
    ],
    ids=str,
)
def test_at_its_end_every_structure_is_hard_sharing(sharing: dict[str, Any], backbone: Any) -> None:
    assert same(built(sharing, backbone), built(backbone=backbone))


def test_columns_without_mixing_are_networks_of_their_own() -> None:
    apart = built({"kind": "cross_stitch", "own": 1.0})
    branches = built({"kind": "branching", "at": 0})
    columns = [apart.backbone.columns.of(task) for task in OUTPUTS]  # type: ignore[union-attr,operator]
    for task, column in zip(OUTPUTS, columns, strict=True):
        column.load_state_dict(branches.backbone.branches.of(task).state_dict())  # type: ignore[union-attr,operator]
    assert same(apart, branches)
    first = apart.backbone.columns.of("shape")  # type: ignore[union-attr,operator]
    assert not torch.equal(next(first.parameters()), next(columns[1].parameters()))


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_parameter_belongs_to_those_who_read_it(name: str) -> None:
    model = built(**STRUCTURES[name])
    shared = set(model.shared_parameters())
    own = {task: set(model.task_parameters(task)) for task in OUTPUTS}
    assert sum(map(len, own.values())) + len(shared) == len(list(model.parameters()))
    assert shared.union(*own.values()) == set(model.parameters())
    readers: dict[str, set[str]] = {}
    for task, loss in losses(model).items():
        gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True, allow_unused=True)
        for (parameter, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            if gradient is not None:
                readers.setdefault(parameter, set()).add(task)
    common = set(model.common_parameters())
    for parameter, p in model.named_parameters():
        if p in shared:
            assert len(readers[parameter]) > 1, parameter
            assert (p in common) == (readers[parameter] == set(OUTPUTS)), parameter
        else:
            (task,) = readers[parameter]
            assert p in own[task], parameter


@pytest.mark.parametrize("name", STRUCTURES)
def test_gradients_pushed_through_shared_features_are_those_of_the_weighted_loss(name: str) -> None:
    """Σ_t w_t ∂L_t/∂features are partial derivatives: no path is counted twice, none is forgotten."""
    model = built(**STRUCTURES[name])
    if not model.shares_features:
        return
    sum(WEIGHTS[task] * loss for task, loss in losses(model).items()).backward()  # type: ignore[union-attr]
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.context.begin(0, 0, 0, len(IMAGES), len(IMAGES))
    features = model.features(IMAGES.double())
    pushed = [torch.zeros_like(feature) for feature in features]
    for task, logits in model.predict(features).items():
        own = model.task_parameters(task)
        found = torch.autograd.grad(
            logits.square().sum(), [*features, *own], retain_graph=True, materialize_grads=True
        )
        for total, gradient in zip(pushed, found, strict=False):
            total += WEIGHTS[task] * gradient
        for p, gradient in zip(own, found[len(features) :], strict=True):
            p.grad = WEIGHTS[task] * gradient
    torch.autograd.backward(features, pushed)
    for parameter, p in model.named_parameters():
        if parameter in expected:
            torch.testing.assert_close(p.grad, expected[parameter], rtol=1e-9, atol=1e-11, msg=parameter)


@pytest.mark.parametrize("sharing", ["hard", "mtan", "mmoe"])
@pytest.mark.parametrize("heads", HEADS)
def test_features_are_shared_where_all_heads_read_the_same_stages(sharing: str, heads: str) -> None:
    section = SHARING.get(sharing, {"kind": "hard"})
    model = built(section, heads=HEADS[heads])
    config = ModelConfig.model_validate({"sharing": section, "heads": HEADS[heads]})
    assert model.shares_features == config.shares_features(OUTPUTS) == (heads != "different stages")


def test_the_sections_say_which_structures_share_features() -> None:
    for name, sharing in SHARING.items():
        section = ModelConfig.model_validate({"sharing": sharing}).sharing
        assert built(sharing).shares_features == section.shares_features, name


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_order_of_tasks_changes_nothing(name: str) -> None:
    ours = built(**STRUCTURES[name]).eval()
    theirs = built(**STRUCTURES[name], tasks=tuple(reversed(OUTPUTS))).eval()
    a, b = ours(IMAGES.double()), theirs(IMAGES.double())
    for task in OUTPUTS:
        torch.testing.assert_close(a[task], b[task], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", STRUCTURES)
def test_one_task_alone_works(name: str) -> None:
    section = dict(STRUCTURES[name])
    model = built(**section, tasks=("shape",))
    torch.autograd.backward(losses(model)["shape"])
    assert all(p.grad is not None for p in model.parameters())
    assert {*model.shared_parameters(), *model.task_parameters("shape")} == set(model.parameters())


@pytest.mark.parametrize("kind", ["branching", "cross_stitch", "mmoe", "ple"])
def test_copies_begin_apart_and_begin_alike_where_weights_are_loaded(kind: str, tmp_path: Any) -> None:
    save_file(built().float().backbone.state_dict(), tmp_path / "net.safetensors")
    for weights, distinct in ((None, True), (str(tmp_path / "net.safetensors"), False)):
        model = built({"kind": kind, "at": 0} if kind != "cross_stitch" else {"kind": kind}, weights=weights)
        first = [p for n, p in model.backbone.named_parameters() if n.endswith("conv1.weight")]
        assert len(first) > 2
        for p in first[1:]:
            assert torch.equal(p, first[0]) != distinct


def test_a_gate_without_experts_to_mix_does_not_exist() -> None:
    model = built({"kind": "mmoe", "at": 2, "experts": 2}, heads={"shape": {"tap": 1}})
    gates = {name for name, _ in model.backbone.named_parameters() if name.startswith("gates")}
    assert {name.split(".")[1] for name in gates} == {"task_bright", "task_marks"}
    assert len(losses(model)) == 3


def test_what_a_structure_adds_is_told_from_the_backbone() -> None:
    for name, sharing in SHARING.items():
        model = built(sharing)
        assert isinstance(model.backbone, SharingStructure)
        added = [p for m in model.modules() if isinstance(m, Addition) for p in m.parameters()]
        assert bool(added) != name.startswith("branching")
        assert len(model.backbone_parameters()) + len(added) == len(list(model.backbone.parameters()))
        names = {n.rpartition(".")[0].rpartition(".")[2] for n, p in model.named_parameters()
                 if p in set(model.backbone_parameters())}  # fmt: skip
        assert names == {"conv1", "conv2", "shared"}


@pytest.mark.parametrize(
    ("sharing", "key", "said"),
    [
        ({"kind": "branching", "at": 4}, "at", "1 conv1, 2 conv2, 3 shared"),
        ({"kind": "mmoe", "at": "layer1"}, "at", "no stage 'layer1'"),
        ({"kind": "branching", "at": {"shape": 1}}, "at", "nothing is said of bright"),
        ({"kind": "branching", "at": {"default": 1, "color": 1}}, "at", "no task color"),
        ({"kind": "ple", "at": 2, "levels": 2}, "levels", "Set levels to 1 or less"),
    ],
)
def test_stages_that_there_are_not_are_named(sharing: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        built(sharing)
    assert caught.value.key == f"model.sharing.{key}"


@pytest.mark.parametrize("name", ["mtan", "ple", "film", "different stages"])
def test_a_structure_of_a_traced_classifier_trains(name: str) -> None:
    section = STRUCTURES[name] | {"backbone": "shufflenet_v2_x0_5"}
    config = ModelConfig.model_validate(section)
    model = build_model(config, channels=1, image_size=(32, 32), outputs=OUTPUTS, seed=0)
    model.train().context.begin(0, 0, 0, 2, 2)
    for logits in model(torch.rand(2, 1, 32, 32)).values():
        logits.sum().backward(retain_graph=True)
    assert all(p.grad is not None for p in model.parameters())


def kept(model: MultiTaskModel, path: Path) -> str:
    """The model as a file that says which tensors are the backbone's, as a trainer writes it."""
    meta = {"meta": json.dumps({"backbone": model.backbone_names()})}
    save_file({name: t.float().contiguous() for name, t in model.state_dict().items()}, path, meta)
    return str(path)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_trained_model_of_any_structure_is_where_hard_sharing_and_the_same_structure_begin(
    name: str, tmp_path: Path
) -> None:
    section = STRUCTURES[name]
    donor = built(**section)
    names = donor.backbone_names()
    plain = built(backbone=section["backbone"]).backbone.state_dict()
    assert plain.keys() >= names.keys() - {n for n in names if "_tensor_constant" in n}
    file = kept(donor, tmp_path / "donor.safetensors")
    again = built(**section, weights=file)
    for own, theirs in donor.backbone_names().items():
        assert torch.equal(again.state_dict()[theirs], donor.state_dict()[theirs].float().double()), own
    if plain.keys() <= names.keys():
        hard = built(backbone=section["backbone"], weights=file)
        for own, theirs in names.items():
            assert torch.equal(hard.backbone.state_dict()[own], donor.state_dict()[theirs].float().double())
    else:
        with pytest.raises(ModelError, match="is missing"):
            built(backbone=section["backbone"], weights=file)


@pytest.mark.parametrize("name", STRUCTURES)
def test_hard_sharing_is_where_any_structure_can_begin(name: str, tmp_path: Path) -> None:
    section = STRUCTURES[name]
    donor = built(backbone=section["backbone"])
    model = built(**section, weights=kept(donor, tmp_path / "donor.safetensors"))
    for own, theirs in model.backbone_names().items():
        assert torch.equal(model.state_dict()[theirs], donor.backbone.state_dict()[own].float().double())


@pytest.mark.parametrize("name", STRUCTURES)
def test_of_a_frozen_backbone_only_what_was_added_learns(name: str) -> None:
    model = built(**STRUCTURES[name])
    model.freeze_backbone()
    model.eval().train()
    added = [module for module in model.modules() if isinstance(module, Addition)]
    inside = {id(module) for addition in added for module in addition.modules()}
    assert all(module.training == (id(module) in inside) for module in model.backbone.modules())
    assert all(module.training for module in model.heads.modules())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.autograd.backward(list(losses(model).values()))
    learning = {id(p) for module in (*added, model.heads) for p in module.parameters()}
    for name, p in model.named_parameters():
        assert (p.grad is not None) == p.requires_grad == (id(p) in learning), name
    frozen = {name for name in before if name.startswith("backbone.")}
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in frozen)
    assert {p for task in OUTPUTS for p in model.task_parameters(task)} | {*model.shared_parameters()} == {
        p for p in model.parameters() if p.requires_grad
    }
