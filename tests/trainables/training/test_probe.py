"""The short training that measures conflicts: the same training as ever, and what is made of its numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.contracts.structures import CNN, HEADS, RESNET
from tests.trainables.synthetic import TASKS, of_several, prepared, several, trial
from trainables.config.trial import TrialConfig
from trainables.data.prepared import PreparedData
from trainables.errors import ModelError, TrainingError
from trainables.model.multitask import build_model
from trainables.training.probe import Conflicts, measure_conflicts
from trainables.training.report import EpochReport
from trainables.training.trainer import Trainer
from trainables.training.world import World

TRAINING: dict[str, Any] = {"epochs": 4, "batch_size": 16, "precision": "fp64"}


def measured(
    config: TrialConfig, data: PreparedData | None = None, *, epochs: int = 2, every: int = 2
) -> tuple[Conflicts, list[EpochReport]]:
    reports: list[EpochReport] = []
    conflicts = measure_conflicts(
        config, data or prepared(), World.single(), epochs=epochs, every=every, on_epoch=reports.append
    )
    return conflicts, reports


@pytest.mark.parametrize("backbone", [CNN, RESNET], ids=["small_cnn", "small_resnet"])
@pytest.mark.parametrize("heads", [{}, HEADS["different stages"]], ids=["ordinary", "tapping"])
def test_it_is_the_beginning_of_the_training_with_hard_sharing_and_equal_weights(
    backbone: dict[str, Any], heads: dict[str, Any]
) -> None:
    model = {"backbone": backbone, "heads": heads}
    asked = trial(
        model=model | {"sharing": {"kind": "cross_stitch"}}, balancing={"method": "mgda"}, training=TRAINING
    )
    _, reports = measured(asked)
    plain = Trainer(
        trial(model=model, balancing={"method": "equal"}, training=TRAINING), prepared(), World.single()
    )
    assert len(reports) == 2
    for report in reports:
        expected = plain.run_epoch()
        assert report.metrics == pytest.approx(expected.metrics, rel=1e-9)
        for task in TASKS:
            assert report.training[f"{task}.weight"] == 1
            name = f"{task}.train_loss"
            assert report.training[name] == pytest.approx(expected.training[name], rel=1e-9)


def test_two_runs_measure_the_same() -> None:
    config = trial(model={"backbone": RESNET}, training=TRAINING)
    (one, _), (other, _) = measured(config), measured(config)
    assert one.cosines.shape == (6, 4, 3)  # of 6 steps every second one, twice
    assert np.array_equal(one.cosines, other.cosines, equal_nan=True)
    assert replace(one, cosines=other.cosines) == replace(other, cosines=other.cosines)


def test_parts_without_parameters_have_no_gradients() -> None:
    conflicts, _ = measured(trial(model={"backbone": RESNET}, training=TRAINING))
    assert conflicts.parts == ("stem", "blocks.0", "blocks.2", "tail")
    assert conflicts.parameters[3] == 0
    assert np.isnan(conflicts.cosines).all((0, 2)).tolist() == [False, False, False, True]


@pytest.mark.parametrize("heads", [{}, HEADS["different stages"], HEADS["one stage"]])
def test_parameters_of_every_branching_are_those_of_the_model_built_so(heads: dict[str, Any]) -> None:
    section = {"backbone": CNN, "heads": heads}
    config = trial(model=section, training=TRAINING)
    conflicts, _ = measured(config, epochs=1, every=100)
    for at in range(len(conflicts.parts) + 1):
        branched = trial(model=section | {"sharing": {"kind": "branching", "at": at}}).model
        outputs = {"shape": 3, "bright": 1, "marks": 4}
        model = build_model(branched, channels=1, image_size=(12, 12), outputs=outputs, seed=0)
        assert conflicts.parameters_branching(at) == sum(p.numel() for p in model.parameters())


def test_scores_are_shares_of_what_was_seen() -> None:
    conflicts = Conflicts(
        parts=("first", "last", "tail"),
        parameters=(10, 20, 0),
        depths=(3, 3, 3),
        model_parameters=50,
        pairs=(("a", "b"), ("a", "c")),
        cosines=np.array(
            [
                [[0.5, np.nan], [-0.5, np.nan], [np.nan, np.nan]],
                [[-0.2, 0.1], [-0.2, -0.1], [np.nan, np.nan]],
            ]
        ),
    )
    assert conflicts.scores(-0.15) == pytest.approx([1 / 3, 2 / 3, np.nan], nan_ok=True)
    assert conflicts.scores(0) == pytest.approx([1 / 3, 1, np.nan], nan_ok=True)
    assert conflicts.scores_of_pairs(-0.15) == pytest.approx([3 / 4, 0])
    assert conflicts.mean_cosines() == pytest.approx(
        np.array([[0.15, 0.1], [-0.35, -0.1], [np.nan, np.nan]]), nan_ok=True
    )


def test_a_task_that_is_never_labelled_met_nobody() -> None:
    data = prepared()
    marks = data.labels["marks"]
    present = marks.present.copy()
    present[data.splits["train"]] = False
    data.labels["marks"] = replace(marks, present=present)
    conflicts, _ = measured(trial(model={"backbone": CNN}, training=TRAINING), data)
    met = {
        pair: bool(np.isfinite(conflicts.cosines[..., number]).any())
        for number, pair in enumerate(conflicts.pairs)
    }
    assert met == {("shape", "bright"): True, ("shape", "marks"): False, ("bright", "marks"): False}
    assert np.isfinite(conflicts.scores(0)).all()


def test_several_sources_and_bfloat16_are_as_in_training() -> None:
    precise = trial(model={"backbone": CNN}, training=TRAINING, data=several("none", "uniform"))
    data = of_several(prepared(labelled=0.5))
    expected, _ = measured(precise, data, epochs=1, every=100)
    rough, _ = measured(
        trial(
            model={"backbone": CNN},
            training=TRAINING | {"precision": "bf16"},
            data=several("none", "uniform"),
        ),
        data,
        epochs=1,
        every=100,
    )
    assert np.allclose(rough.cosines, expected.cosines, atol=0.1)


def test_where_nothing_shared_is_trained_nothing_can_be_measured() -> None:
    optimizer = {"name": "adam", "lr": 3e-3, "backbone_lr_factor": 0}
    with pytest.raises(TrainingError, match="nothing shared is trained") as caught:
        measured(trial(model={"backbone": CNN}, training=TRAINING | {"optimizer": optimizer}))
    assert caught.value.key == "training.optimizer.backbone_lr_factor"


def test_a_backbone_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be divided into stages") as caught:
        measured(trial(model={"backbone": "tests.contracts.nets:undivided"}, training=TRAINING))
    assert caught.value.key == "model.sharing"
