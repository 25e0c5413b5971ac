"""Initial weights of a backbone from a safetensors file."""

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn

from trainables.errors import ModelError
from trainables.model.stems import centre_crop

KEY = "model.weights"
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def expected_inputs(path: Path) -> Normalisation | None:
    """Mean and standard deviation, per channel on the [0, 1] scale, of the inputs that a model trained here expects.

    None where the file says nothing of them, which is then any other network's.

    Raises:
        ModelError: the file cannot be read.
    """
    _, metadata = _read(path, tensors=False)
    try:
        meta = json.loads(metadata["meta"])
        return tuple(map(float, meta["mean"])), tuple(map(float, meta["std"]))
    except (KeyError, ValueError, TypeError):
        return None


def load_weights(net: nn.Module, path: Path, cropped: str | None = None) -> None:
    """Load a safetensors file into a backbone.

    It may hold the backbone alone (with or without its former classifier) or a model that was trained here.
    `cropped`: name of the first convolution's weight where a small stem takes the centre of a larger one.

    Raises:
        ModelError: the file cannot be read, or what it holds does not fit.
    """
    tensors, _ = _read(path)
    if any(name.startswith("backbone.") for name in tensors):
        tensors = {n.removeprefix("backbone."): t for n, t in tensors.items() if n.startswith("backbone.")}
    own = net.state_dict()
    if cropped is not None and cropped in tensors:
        tensors[cropped] = centre_crop(tensors[cropped], own[cropped].shape)
    wrong = [
        f"{n} is {list(tensors[n].shape)}, not {list(t.shape)}"
        for n, t in own.items()
        if n in tensors and tensors[n].shape != t.shape
    ]
    missing = [name for name in own if name not in tensors and not name.endswith("num_batches_tracked")]
    if wrong or missing:
        said = wrong or [f"{name} is missing" for name in missing]
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        raise ModelError(
            f"The weights {path} do not fit the backbone: {'; '.join(said[:3])}{more}.",
            hint="They must come from the same backbone with the same arguments and image size.",
            key=KEY,
        )
    net.load_state_dict({name: tensors.get(name, tensor) for name, tensor in own.items()})


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys()) if tensors else []
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except Exception as error:  # safetensors has its own error type, files have theirs
        raise ModelError(
            f"The weights {path} cannot be read: {error}.", hint="It must be a safetensors file.", key=KEY
        ) from error
