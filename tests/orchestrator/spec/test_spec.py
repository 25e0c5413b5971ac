"""Experiment files: how they are read, overridden, and turned into trials."""

import json
import pickle
import time
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator.errors import ConfigError
from orchestrator.spec import load_spec, parse_spec
from search_spaces.sharing import KINDS
from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester
from tests.orchestrator.spec.files import SMALL
from trainables.config.balancing import StaticBalancing
from trainables.config.data import Temperature
from trainables.config.heads import LinearHead, MLPHead
from trainables.config.model import NamedBackbone, SmallCNN
from trainables.config.sharing import MMoESharing, SharingConfig
from trainables.config.training import SGD, AdamW, Cosine

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_load(file: Path) -> None:
    spec = load_spec(file)
    assert spec.folder == file.parent
    assert spec.text == file.read_text()
    assert spec.trial_config().data == spec.data
    assert json.loads(json.dumps(spec.resolved()))["name"] == spec.name


def test_the_demo_is_an_example() -> None:
    assert load_spec(EXAMPLES[0].parent / "digits_pair.yaml").name == "digits-pair"


def test_numbers_text_and_dates_are_yaml_1_2() -> None:
    spec = parse_spec(
        SMALL + "training: {optimizer: {name: adamw, lr: 1e-3, weight_decay: 3e-4}}\n"
        "tracking: {mlflow: no, storage: 2026-01-02}\n"
    )
    assert isinstance(spec.training.optimizer, AdamW)
    assert spec.training.optimizer.lr == 0.001
    assert spec.training.optimizer.weight_decay == 0.0003
    assert spec.tracking.mlflow == "no"
    assert spec.tracking.storage == "2026-01-02"


def test_anchors_and_merges() -> None:
    spec = parse_spec(
        "name: a\ndata: {source: x.csv}\ntasks:\n"
        "  a: &task {type: multiclass, label: a, label_smoothing: 0.1}\n"
        "  b: {<<: *task, label: b}\n  c: *task\n"
    )
    assert spec.tasks["b"].label == "b"
    assert spec.tasks["b"].label_smoothing == spec.tasks["c"].label_smoothing == 0.1


def test_expanding_aliases_is_bounded() -> None:
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    began = time.perf_counter()
    with pytest.raises(ConfigError, match="aliases expanded"):
        parse_spec("\n".join(lines))
    assert time.perf_counter() - began < 5


def test_a_kind_need_not_be_named_where_there_is_a_default() -> None:
    spec = parse_spec(SMALL + "training: {optimizer: {lr: 0.5}}\nmodel: {backbone: lenet}\n")
    assert spec.training.optimizer == AdamW(lr=0.5)
    assert spec.model.backbone.name == "lenet"


def test_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load_spec(file).name == "small"


# Overrides


def test_overrides_apply_in_order() -> None:
    assert parse_spec(SMALL, overrides=["seed=3", "seed=4"]).seed == 4


def test_an_override_makes_what_is_missing_on_the_way() -> None:
    spec = parse_spec(SMALL, overrides=["training.optimizer.lr=1e-2", "model.heads.left.kind=mlp"])
    assert spec.training.optimizer == AdamW(lr=0.01)
    assert spec.model.heads["left"].kind == "mlp"


def test_an_override_below_a_short_form() -> None:
    spec = parse_spec(SMALL + "model: {backbone: small_cnn}\n", overrides=["model.backbone.width=7"])
    assert spec.model.backbone == SmallCNN(width=7)


def test_null_removes() -> None:
    text = (
        SMALL
        + "seed: 9\nsearch:\n  space:\n    training.optimizer.lr: {log: [1e-5, 1e-2]}\n"
        + "    training.epochs: {int: [1, 3]}\n"
    )
    spec = parse_spec(text, overrides=["seed=null", "search.space.training.optimizer.lr=null"])
    assert spec.seed == 0
    assert list(spec.search.space) == ["training.epochs"]


@pytest.mark.parametrize(
    "key",
    [
        "search.stop_early",
        "search.stop_early.on",
        "model.weights",
        "model.heads.left.hidden",
        "model.heads.default",
        "training.ema",
        "training.optimizer.momentum",
        "data.split.group",
        "tasks.left.class_weights",
        "seed",
    ],
)
@pytest.mark.parametrize("text", [SMALL, SMALL + "search: {}\nmodel: {}\ntraining: {}\n"])
def test_null_for_a_key_that_is_not_set_does_nothing(key: str, text: str) -> None:
    assert parse_spec(text, overrides=[f"{key}=null"]).resolved() == parse_spec(text).resolved()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("serach.stop_early", "serach.stop_early is not in"),
        ("search.stop_erly", "search.stop_erly is not in"),
        ("tasks.lft", "Did you mean tasks.left"),
        ("tasks.lft.metric", "Did you mean tasks.left"),
        ("search.space.training.epochs", "is not in"),
    ],
)
def test_null_for_a_key_that_cannot_be_is_an_error(key: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_spec(SMALL, overrides=[f"{key}=null"])


def test_an_override_of_a_list_item_and_of_a_mapping() -> None:
    text = SMALL + "search: {objectives: [left.accuracy, right.accuracy]}\n"
    spec = parse_spec(
        text, overrides=["search.objectives.1=right.f1", "balancing.weights={left: 2, right: 1}"]
    )
    assert spec.search.objectives == ("left.accuracy", "right.f1")
    assert spec.balancing == StaticBalancing(weights={"left": 2, "right": 1})


def test_overrides_are_remembered_and_the_text_is_as_written() -> None:
    spec = parse_spec(SMALL, overrides=["seed=3"])
    assert spec.text == SMALL
    assert spec.overrides == ("seed=3",)


# Trials

BASE = (
    SMALL
    + """\
model: {backbone: resnet18}
balancing: {method: static, weights: {left: 1, right: 2}}
training: {optimizer: {name: sgd, lr: 0.1, momentum: 0.5}, schedule: {name: cosine}}
"""
)


def test_values_are_merged_over_the_file() -> None:
    trial = parse_spec(BASE).trial_config_with(
        {"training.optimizer.lr": 0.2, "model.heads.left.dropout": 0.3}
    )
    assert trial.training.optimizer == SGD(lr=0.2, momentum=0.5)
    assert trial.training.schedule == Cosine()
    assert trial.model.backbone == NamedBackbone(name="resnet18")
    assert trial.model.head("left").dropout == 0.3


def test_a_mapping_replaces_all_that_stood_there() -> None:
    trial = parse_spec(BASE).trial_config_with(
        {"balancing.weights": {"left": 0.5}, "training.optimizer": {"name": "adamw"}}
    )
    assert trial.balancing == StaticBalancing(weights={"left": 0.5})
    assert trial.training.optimizer == AdamW()


def test_no_values_give_the_file() -> None:
    spec = parse_spec(BASE)
    trial = spec.trial_config()
    assert {key: getattr(trial, key) for key in type(trial).model_fields} == {
        key: getattr(spec, key) for key in type(trial).model_fields
    }


def test_trials_do_not_share_what_they_are_made_of() -> None:
    spec = parse_spec(BASE)
    first = spec.trial_config_with({"balancing.weights": {"left": 0.5}})
    assert spec.trial_config().balancing == StaticBalancing(weights={"left": 1, "right": 2})
    assert first.fingerprint != spec.trial_config().fingerprint
    assert first.fingerprint == spec.trial_config_with({"balancing.weights": {"left": 0.5}}).fingerprint


def test_relative_weights_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(SMALL + "model: {weights: net.safetensors}\n")
    spec = load_spec(file)
    assert spec.trial_config().model.weights == str(tmp_path / "net.safetensors")
    proposals = {"a/b.safetensors": str(tmp_path / "a/b.safetensors"), "default": "default", None: None}
    for written, meant in {**proposals, "/c.safetensors": "/c.safetensors"}.items():
        assert spec.trial_config_with({"model.weights": written}).model.weights == meant
    proposed = spec.trial_config_with({"model": {"weights": "d.safetensors"}})
    assert proposed.model.weights == str(tmp_path / "d.safetensors")


@pytest.mark.parametrize(
    ("domain", "most"),
    [
        (None, 10),
        ("{int: [2, 5]}", 5),
        ("{log_int: [2, 40]}", 40),
        ("{choice: [7, 3]}", 7),
        ("{int: [2, 5], when: {model.backbone.name: lenet}}", 10),
    ],
)
def test_min_epochs_must_be_within_reach_of_some_trial(domain: str | None, most: int) -> None:
    space = f"training.epochs: {domain}, " if domain else ""
    text = SMALL + "training: {epochs: 10}\nsearch:\n  stop_early: {min_epochs: %d}\n  space: {" + space
    text += "model.backbone.name: {choice: [lenet, small_cnn]}}\n"
    assert parse_spec(text % most).most_epochs == most
    with pytest.raises(ConfigError, match=f"{most + 1} epochs are never reached: .* {most}"):
        parse_spec(text % (most + 1))


def test_a_head_that_a_search_makes_linear_has_no_hidden_layers() -> None:
    text = SMALL + "model: {heads: {default: {kind: mlp, hidden: [128]}, left: {kind: mlp, hidden: [8]}}}\n"
    spec = parse_spec(text + "search: {space: [head_architecture]}\n")
    heads = spec.trial_config_with({"model.heads.default.kind": "linear"}).model.heads
    assert heads == {"default": LinearHead(), "left": MLPHead(hidden=(8,))}
    with pytest.raises(ConfigError, match=r"heads.left.hidden: unknown key. It is a key of mlp"):
        parse_spec(text.replace("left: {kind: mlp", "left: {kind: linear"))


def test_what_is_compared_is_measured() -> None:
    spec = parse_spec(
        SMALL + "training: {select: {metric: left.ece, mode: min}}\n"
        "search: {objectives: [left.auroc, right.accuracy, right.loss, score], stop_early: {on: right.f1}}\n"
    )
    trial = spec.trial_config()
    assert set(trial.tasks["left"].metrics) == {"auroc", "ece"}
    assert set(trial.tasks["right"].metrics) == {"f1"}
    assert spec.tasks["left"].metrics == ()


def test_objectives_default_to_every_tasks_metric() -> None:
    assert parse_spec(SMALL).objectives == ("left.accuracy", "right.accuracy")


def test_a_spec_survives_pickling() -> None:
    spec = parse_spec(BASE, overrides=["seed=5"])
    copy = pickle.loads(pickle.dumps(spec))
    assert copy == spec
    assert copy.overrides == spec.overrides
    assert copy.folder == spec.folder


def test_making_a_trial_is_fast() -> None:
    spec = load_spec(EXAMPLES[0].parent / "table.yaml")
    values = {"training.optimizer.lr": 0.01, "balancing.weights": {"color": 0.2, "style": 0.5, "logo": 0.3}}
    fastest = 1.0
    for _ in range(20):
        began = time.perf_counter()
        spec.trial_config_with(values)
        fastest = min(fastest, time.perf_counter() - began)
    assert fastest < 0.002


# The search space


def test_a_key_and_its_part_may_be_searched_where_they_agree() -> None:
    spec = parse_spec(
        SMALL + "search:\n  space:\n    training.optimizer: {choice: [{name: sgd}, {name: adamw}]}\n"
        "    training.optimizer.lr: {log: [1e-4, 1e-1]}\n"
    )
    trial = spec.trial_config_with({"training.optimizer": {"name": "sgd"}, "training.optimizer.lr": 0.02})
    assert trial.training.optimizer == SGD(lr=0.02)


def test_a_conditional_key_is_judged_with_its_condition() -> None:
    parse_spec(
        SMALL + "search:\n  space:\n    training.optimizer.name: {choice: [adamw, sgd]}\n"
        "    training.optimizer.momentum: {float: [0.5, 0.9], when: {training.optimizer.name: sgd}}\n"
    )


@pytest.mark.parametrize(
    "space", ["task_weights", "head_architecture", "head_architecture_per_task", "optimization", "sharing"]
)
def test_ready_made_spaces_fit_any_file(space: str) -> None:
    parse_spec(SMALL + f"search: {{space: [{space}]}}\n")


SEVERAL = """\
name: a
data:
  sources:
    - {name: one, source: one.csv, tasks: [left]}
    - {name: two, source: two.csv, tasks: {right: cell}}
tasks:
  left: {type: multiclass, label: left}
  right: {type: multiclass, label: right}
"""


@pytest.mark.parametrize(
    ("space", "values"),
    [
        (
            "{data.mixing: {choice: [proportional, uniform, {one: 2, two: 1}]}}",
            ["uniform", {"one": 2, "two": 1}],
        ),
        ("{data.mixing: {choice: [uniform, {temperature: 3}]}}", [{"temperature": 3}]),
    ],
)
def test_mixing_can_be_searched(space: str, values: list[Any]) -> None:
    spec = parse_spec(f"{SEVERAL}search: {{space: {space}}}\n")
    for value in values:
        trial = spec.trial_config_with({"data.mixing": value})
        assert trial.model_dump(mode="json")["data"]["mixing"] == value
        assert trial.data.sources == spec.data.sources


def test_a_temperature_or_a_ratio_can_be_searched_alone() -> None:
    warm = SEVERAL.replace("data:\n", "data:\n  mixing: {temperature: 1}\n")
    spec = parse_spec(f"{warm}search: {{space: {{data.mixing.temperature: {{float: [1, 5]}}}}}}\n")
    assert spec.trial_config_with({"data.mixing.temperature": 2.5}).data.mixing == Temperature(
        temperature=2.5
    )
    ratios = SEVERAL.replace("data:\n", "data:\n  mixing: {one: 1, two: 1}\n")
    spec = parse_spec(f"{ratios}search: {{space: {{data.mixing.one: {{log: [0.1, 10]}}}}}}\n")
    assert spec.trial_config_with({"data.mixing.one": 4.0}).data.mixing == {"one": 4, "two": 1}


def test_an_override_inside_a_source() -> None:
    spec = parse_spec(SEVERAL, overrides=["data.sources.1.image=photo"])
    assert spec.data.sources is not None
    assert spec.data.sources[1].image == "photo"


def test_every_structure_of_the_ready_made_space_is_a_trial_whatever_the_file_says_of_its_own() -> None:
    spec = parse_spec(
        SMALL + "model: {sharing: {kind: mmoe, at: 2, experts: 3}}\nsearch: {space: [sharing]}\n"
    )
    space = SearchSpace.from_config(spec.search.space, tasks=list(spec.tasks))
    trials = [
        spec.trial_config_with(space.suggest(RandomSuggester(0, number))).model.sharing
        for number in range(60)
    ]
    assert {sharing.kind for sharing in trials} == set(KINDS)
    union = get_args(get_args(SharingConfig)[0])
    assert {section.model_fields["kind"].default for section in union} == set(KINDS)


def test_what_a_file_says_of_one_kind_leaves_out_what_another_kind_does_not_take() -> None:
    spec = parse_spec(SMALL + "model: {sharing: {kind: branching, at: {left: 0, default: 2}}}\n")
    for kind in ("mmoe", "ple", "cross_stitch", "hard"):
        assert spec.trial_config_with({"model.sharing.kind": kind}).model.sharing.kind == kind
    kept = parse_spec(SMALL + "model: {sharing: {kind: branching, at: 2}}\n")
    sharing = kept.trial_config_with({"model.sharing.kind": "mmoe"}).model.sharing
    assert isinstance(sharing, MMoESharing)
    assert sharing.at == 2
