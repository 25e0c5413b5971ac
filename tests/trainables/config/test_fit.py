"""What is said of methods and structures before a model is built is what building it says."""

from typing import Any

import pytest

from tests.contracts.methods import SECTIONS
from tests.contracts.structures import CNN, HEADS, SHARING
from tests.trainables.synthetic import trial
from trainables.balancing.build import build_balancer
from trainables.config.fit import DECIDING, decides, misfit
from trainables.errors import TrainingError
from trainables.model.multitask import build_model

OUTPUTS = {"shape": 3, "bright": 1, "marks": 4}
STRUCTURES: dict[str, dict[str, Any]] = SHARING | {
    "hard": {"kind": "hard"},
    "nothing shared": {"kind": "branching", "at": 0},
    "two share": {"kind": "branching", "at": {"default": 2, "shape": 0}},
    "one shares with nobody": {"kind": "branching", "at": {"default": 0, "shape": 2}},
    "all shared": {"kind": "branching", "at": 3},
}
TAPS = {"ordinary heads": {}, "one stage": HEADS["one stage"], "different stages": HEADS["different stages"]}
ONLY_THE_MODEL_KNOWS = {("ple", "one stage"), ("ple", "different stages")}
"""With a frozen backbone: heads that read early leave no second level, and so no gate that all tasks read."""


@pytest.mark.parametrize("factor", [0, 1])
@pytest.mark.parametrize("name", STRUCTURES)
def test_a_misfit_is_what_cannot_be_built(name: str, factor: int) -> None:
    optimizer = {"name": "sgd", "backbone_lr_factor": factor}
    for taps, heads in TAPS.items():
        section = {"backbone": CNN, "sharing": STRUCTURES[name], "heads": heads}
        configs = [
            trial(model=section, balancing=own, training={"optimizer": optimizer})
            for own in SECTIONS.values()
        ]
        model = build_model(configs[0].model, channels=1, image_size=(12, 12), outputs=OUTPUTS, seed=0)
        if factor == 0:
            model.freeze_backbone()
        for config in configs:
            refused = False
            try:
                build_balancer(config.balancing, tuple(OUTPUTS), model)
            except TrainingError:
                refused = True
            said = misfit(config)
            if said is None and factor == 0 and (name, taps) in ONLY_THE_MODEL_KNOWS:
                continue
            assert (said is not None) == refused, (config.balancing, taps, said)


def test_a_task_alone_has_nobody_to_share_with() -> None:
    own = {"backbone": CNN, "sharing": STRUCTURES["nothing shared"]}
    assert misfit(trial(tasks=("shape",), model=own, balancing={"method": "gradnorm"})) is None


@pytest.mark.parametrize(
    "key", ["balancing", "model", "model.heads.shape.tap", "model.sharing.at.shape", *DECIDING]
)
def test_keys_that_decide(key: str) -> None:
    assert decides(key)


@pytest.mark.parametrize(
    "key", ["balancing.weights", "model.backbone", "model.heads.shape.dropout", "training.epochs"]
)
def test_keys_that_do_not_decide(key: str) -> None:
    assert not decides(key)
