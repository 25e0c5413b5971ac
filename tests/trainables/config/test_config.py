"""Sections of an experiment file as frozen values."""

import pytest
from pydantic import ValidationError

from trainables.config.data import SplitFractions
from trainables.config.heads import LinearHead, MLPHead
from trainables.config.model import ModelConfig, SmallCNN, SmallImageResNet
from trainables.config.tasks import METRICS_OF_TYPE, RESERVED_NAMES
from trainables.config.training import SGD, AdamW, Cosine, TrainingConfig
from trainables.config.trial import TrialConfig

TRIAL = {
    "data": {"source": "builtin:digits-pair"},
    "tasks": {"left": {"type": "multiclass", "label": "left"}},
}


SOURCES = [
    {"name": "a", "source": "a.csv", "tasks": ["left"]},
    {"name": "b", "source": "b.csv", "tasks": {"left": "cell"}, "split": {"column": "part"}},
]


@pytest.mark.parametrize(
    "mixing", ["proportional", "uniform", {"temperature": 2.0}, {"a": 1, "b": 2.5}], ids=str
)
def test_sources_survive_being_written_out(mixing: object) -> None:
    trial = TrialConfig.model_validate({**TRIAL, "data": {"sources": SOURCES, "mixing": mixing}})
    again = TrialConfig.model_validate(trial.model_dump(mode="json"))
    assert again == trial
    assert again.fingerprint == trial.fingerprint


def test_an_error_of_a_validator_is_at_its_key() -> None:
    twice = [SOURCES[0], SOURCES[0]]
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate({**TRIAL, "data": {"sources": twice}})
    (problem,) = caught.value.errors()
    assert problem["loc"] == ("data", "sources", 1, "name")
    assert "two sources" in problem["msg"]


@pytest.mark.parametrize("value", ["20", 20.0, True, 0, -1, None, [20]])
def test_counts_are_whole_numbers_from_one(value: object) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig.model_validate({"epochs": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -1e-3, "1e-3", True])
def test_rates_are_positive_finite_numbers(value: object) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig.model_validate({"optimizer": {"name": "adamw", "lr": value}})


def test_unknown_keys_are_errors_everywhere() -> None:
    for section, values in {
        "training": {"epoch": 1},
        "model": {"backbon": "lenet"},
        "balancing": {"wieghts": {}},
    }.items():
        with pytest.raises(ValidationError, match="Extra inputs"):
            TrialConfig.model_validate({**TRIAL, section: values})


def test_sections_are_frozen() -> None:
    trial = TrialConfig.model_validate(TRIAL)
    with pytest.raises(ValidationError, match="frozen"):
        trial.seed = 3  # type: ignore[misc]


def test_a_kind_that_is_not_named_is_the_defaults() -> None:
    training = TrainingConfig.model_validate({"optimizer": {"lr": 0.1}, "schedule": {"warmup": 0.1}})
    assert training.optimizer == AdamW(lr=0.1)
    assert training.schedule.name == "constant"
    named = TrainingConfig.model_validate(
        {"optimizer": {"name": "sgd", "lr": 0.1}, "schedule": {"name": "cosine"}}
    )
    assert named.optimizer == SGD(lr=0.1)
    assert named.schedule == Cosine()


def test_a_mapping_that_is_given_is_never_changed() -> None:
    given = {"optimizer": {"lr": 0.1}}
    TrainingConfig.model_validate(given)
    assert given == {"optimizer": {"lr": 0.1}}


def test_backbones_are_told_apart_by_name() -> None:
    assert ModelConfig.model_validate({"backbone": {"name": "small_cnn"}}).backbone == SmallCNN()
    assert ModelConfig.model_validate({"backbone": {"width": 3}}).backbone == SmallCNN(width=3)
    assert ModelConfig.model_validate({"backbone": "small_resnet"}).backbone == SmallImageResNet()
    assert ModelConfig.model_validate({"backbone": "resnet18"}).backbone.name == "resnet18"


def test_heads_fall_back_to_default_and_then_to_linear() -> None:
    model = ModelConfig.model_validate(
        {"heads": {"default": {"kind": "mlp", "hidden": [8]}, "a": {"kind": "linear"}}}
    )
    assert model.head("a") == LinearHead()
    assert model.head("b") == MLPHead(hidden=(8,))
    assert ModelConfig().head("b") == LinearHead()


def test_fractions_sum_to_one() -> None:
    assert SplitFractions(train=0.7, val=0.3, test=0).test == 0
    with pytest.raises(ValidationError, match="must be 1"):
        SplitFractions(train=0.7, val=0.2, test=0.2)


def test_the_fingerprint_depends_on_values_alone() -> None:
    first = TrialConfig.model_validate(TRIAL)
    written_out = TrialConfig.model_validate(first.model_dump(mode="json"))
    assert written_out == first
    assert written_out.fingerprint == first.fingerprint
    assert len(first.fingerprint) == 16
    changed = [
        {**TRIAL, "seed": 1},
        {**TRIAL, "training": {"epochs": 11}},
        {**TRIAL, "model": {"backbone": "lenet"}},
    ]
    fingerprints = {TrialConfig.model_validate(values).fingerprint for values in changed}
    assert len({first.fingerprint, *fingerprints}) == 4


def test_reserved_names_and_metrics_cannot_be_confused() -> None:
    for metrics in METRICS_OF_TYPE.values():
        assert not RESERVED_NAMES & set(metrics)
        assert "loss" not in metrics  # every task has one
