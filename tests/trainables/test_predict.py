"""A predictor says of an image file what the trainer said of it."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.synthetic import prepared, trial
from trainables.data.prepared import PreparedData
from trainables.errors import DataError
from trainables.predict import Predictor
from trainables.training.evaluate import collect_logits
from trainables.training.trainer import Trainer
from trainables.training.world import World


def files_of(data: PreparedData) -> list[bytes]:
    """Validation images as PNG files."""
    files = []
    for pixels in data.images[data.splits["val"]]:
        stream = io.BytesIO()
        Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(stream, "PNG")
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


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    trainer = Trainer(trial(training={"epochs": 1}), prepared(), World.single())
    trainer.run_epoch()
    predictor = Predictor(trainer.best_state())
    with pytest.raises(DataError, match="cannot be read"):
        predictor.answers([b"no image"])
    assert predictor.answers([]) == {"shape": [], "bright": [], "marks": []}
