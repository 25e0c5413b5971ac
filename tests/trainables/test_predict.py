"""A predictor says of an image file what the trainer said of it."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.contracts.structures import STRUCTURES
from tests.trainables.synthetic import prepared, several, trial
from trainables.data.joined import JoinedImages
from trainables.data.prepared import PreparedData
from trainables.errors import DataError
from trainables.predict import Predictor
from trainables.training.evaluate import collect_logits
from trainables.training.predictions import Predictions
from trainables.training.trainer import Trainer
from trainables.training.world import World


def files_of(data: PreparedData) -> list[bytes]:
    """Validation images as PNG files."""
    files = []
    for row in data.splits["val"]:
        pixels = data.images[np.array([row])][0]
        grey = (pixels == pixels[0]).all()
        stream = io.BytesIO()
        Image.fromarray(pixels[0] if grey else pixels.transpose(1, 2, 0)).save(stream, "PNG")
        files.append(stream.getvalue())
    return files


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_logits_as_in_training(tmp_path: Path, channels: int, precision: str) -> None:
    data = prepared(channels=channels)
    trainer = Trainer(trial(training={"epochs": 1, "precision": precision}), data, World.single())
    trainer.run_epoch()
    trainer.save_best(tmp_path / "best")
    wanted = collect_logits(
        trainer.model,
        trainer._images,
        torch.from_numpy(data.splits["val"]),
        World.single(),
        trainer.precision,
        64,
    )
    predictor = Predictor.load(tmp_path / "best")
    files = files_of(data)
    found = predictor.logits(np.stack([predictor.decode(file) for file in files]))
    for task, logits in wanted.items():
        torch.testing.assert_close(found[task], logits, rtol=0, atol=1e-6)
    answers = predictor.answers(files)
    likeliest = [data.classes["shape"][k] for k in wanted["shape"].argmax(1).tolist()]
    assert [answer.label for answer in answers["shape"]] == likeliest
    assert all(sum(answer.probabilities) == pytest.approx(1) for answer in answers["bright"])
    assert all(
        answer.label == [tag for tag, p in zip("pqrs", answer.probabilities, strict=True) if p > 0.5]
        for answer in answers["marks"]
    )


def test_a_model_that_began_from_weights_that_are_gone(tmp_path: Path) -> None:
    """Its inputs are normalised as those weights expected, its channels are theirs."""
    donor = Trainer(trial(training={"epochs": 1}), prepared(channels=3, seed=4), World.single())
    donor.run_epoch()
    donor.save_best(tmp_path / "donor")
    weights = tmp_path / "donor" / "state.safetensors"
    data = prepared()
    trainer = Trainer(
        trial(training={"epochs": 1, "precision": "fp32"}, model={"weights": str(weights)}),
        data,
        World.single(),
    )
    trainer.run_epoch()
    trainer.save_best(tmp_path / "best")
    weights.unlink()
    predictor = Predictor.load(tmp_path / "best")
    found = predictor.logits(np.stack([predictor.decode(file) for file in files_of(data)]))
    rows = torch.from_numpy(data.splits["val"])
    wanted = collect_logits(trainer.model, trainer._images, rows, World.single(), trainer.precision, 64)
    for task, logits in wanted.items():
        torch.testing.assert_close(found[task], logits, rtol=0, atol=1e-6)


def test_several_sources_grey_and_in_colours(tmp_path: Path) -> None:
    """A grey image file is seen as in training, where it stood beside others in colours."""
    data = prepared(channels=3)
    pixels = np.asarray(data.images)
    grey = np.ascontiguousarray(pixels[:100, :1])
    joined = replace(
        data,
        images=JoinedImages((grey, pixels[100:])),
        sources={"few": range(100), "many": range(100, 130)},
    )
    config = trial(training={"epochs": 1}, data=several("none", "uniform"))
    trainer = Trainer(config, joined, World.single())
    trainer.run_epoch()
    trainer.save_best(tmp_path / "best")
    predictor = Predictor.load(tmp_path / "best")
    rows = joined.splits["val"]
    assert min(rows) < 100 <= max(rows)
    found = predictor.logits(np.stack([predictor.decode(file) for file in files_of(joined)]))
    predictions = Predictions.load(tmp_path / "best")
    assert np.array_equal(found["shape"].argmax(1).numpy(), predictions.tasks["shape"].predicted)


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    trainer = Trainer(trial(training={"epochs": 1}), prepared(), World.single())
    trainer.run_epoch()
    predictor = Predictor(trainer.best_state())
    with pytest.raises(DataError, match="cannot be read"):
        predictor.answers([b"no image"])
    assert predictor.answers([]) == {"shape": [], "bright": [], "marks": []}


@pytest.mark.parametrize("structure", ["mtan", "ple", "different stages", "mmoe over batch normalisation"])
def test_a_structure_predicts_as_in_training(tmp_path: Path, structure: str) -> None:
    data = prepared()
    trainer = Trainer(trial(training={"epochs": 1}, model=STRUCTURES[structure]), data, World.single())
    trainer.run_epoch()
    trainer.save_best(tmp_path / "best")
    found = Predictor.load(tmp_path / "best").logits(np.asarray(data.images)[data.splits["val"]])
    for task, own in Predictions.load(tmp_path / "best").tasks.items():
        predicted = found[task].argmax(1) if task == "shape" else (found[task] > 0).squeeze(1)
        assert np.array_equal(predicted.numpy().astype(int), own.predicted), task
