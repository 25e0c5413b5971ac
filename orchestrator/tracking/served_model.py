"""What MLflow calls to load and ask a logged model: the loader module that the model names.

No pickle: the model is a safetensors file, and this module reads it wherever Equipoise is installed.
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas

from trainables.errors import DataError
from trainables.predict import Predictor

IMAGE = "image"
"""The input's only column: an image file's bytes, or those as base64 text."""


class ServedModel:
    """A pyfunc model: rows of images to rows of `<task>`, `<task>.confidence` and `<task>.probs`."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pandas.DataFrame:
        """Classes, their probabilities, and the probabilities of all classes.

        Raises:
            DataError: a row is neither an image file's bytes nor those as base64.
        """
        frame = pandas.DataFrame(model_input)
        answers = self._predictor.answers(_bytes(frame[IMAGE].tolist()))
        columns: dict[str, Sequence[Any]] = {}
        for task, own in answers.items():
            columns[task] = [answer.label for answer in own]
            columns[f"{task}.confidence"] = [answer.confidence for answer in own]
            columns[f"{task}.probs"] = [answer.probabilities for answer in own]
        return pandas.DataFrame(columns, index=frame.index)


def _bytes(images: Sequence[Any]) -> list[bytes]:
    found = []
    for number, image in enumerate(images):
        try:
            found.append(base64.b64decode(image, validate=True) if isinstance(image, str) else bytes(image))
        except (binascii.Error, TypeError, ValueError) as error:
            raise DataError(
                f"Row {number} of the column {IMAGE!r} is neither bytes nor base64 text.",
                hint="Give the bytes of an image file (PNG, JPEG, …), not its pixels.",
            ) from error
    return found


def _load_pyfunc(path: str) -> ServedModel:
    """Load what `logged_model` has logged; MLflow wants this name."""
    return ServedModel(Predictor.load(Path(path)))
