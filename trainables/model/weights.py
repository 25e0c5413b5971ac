"""Initial weights of a backbone from a safetensors file, which a model that was trained here may have kept."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn

from trainables.checksum import META, DamagedError, verify
from trainables.errors import ModelError
from trainables.model.stems import centre_crop

KEY = "model.weights"
HINT = "They must come from the same backbone with the same arguments and image size."
PREFIX = "backbone."
"""Of a whole model's tensors, where its file does not say more."""
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def expected_inputs(path: Path) -> Normalisation | None:
    """Mean and standard deviation, per channel on the [0, 1] scale, of the inputs that a model trained here expects.

    None where the file says nothing of them, which is then any other network's.

    Raises:
        ModelError: the file cannot be read.
    """
    _, meta = _read(path, tensors=False)
    try:
        return tuple(map(float, meta["mean"])), tuple(map(float, meta["std"]))
    except (KeyError, ValueError, TypeError):
        return None


def load_weights(net: nn.Module, path: Path, cropped: str | None = None) -> frozenset[str]:
    """Load a safetensors file into a backbone.

    It may hold the backbone alone (with or without its former classifier) or a model that was trained here, of
    whatever structure: its file says which of its tensors are the backbone's (`MultiTaskModel.backbone_names`).
    `cropped`: name of the first convolution's weight where a small stem takes the centre of a larger one.

    Returns:
        Tensors that the file has nothing for, such as those of stages that no head of its model came after.
        They stay as they are; who needs them calls `require`.

    Raises:
        ModelError: the file cannot be read, or what it holds has other shapes.
    """
    tensors, meta = _read(path)
    plain = {name.removeprefix(PREFIX): name for name in tensors if name.startswith(PREFIX)}
    said = meta.get("backbone")
    names: Mapping[str, str] = said if isinstance(said, dict) else plain
    if names:
        tensors = {name: tensors[theirs] for name, theirs in names.items() if theirs in tensors}
    own = net.state_dict()
    if cropped is not None and cropped in tensors:
        tensors[cropped] = centre_crop(tensors[cropped], own[cropped].shape)
    wrong = [
        f"{n} is {list(tensors[n].shape)}, not {list(t.shape)}"
        for n, t in own.items()
        if n in tensors and tensors[n].shape != t.shape
    ]
    if wrong:
        raise ModelError(f"The weights {path} do not fit the backbone: {_some(wrong)}.", hint=HINT, key=KEY)
    net.load_state_dict({name: tensors.get(name, tensor) for name, tensor in own.items()})
    return frozenset(n for n in own if n not in tensors and not n.endswith("num_batches_tracked"))


def require(needed: Collection[str], missing: frozenset[str], path: object) -> None:
    """Make sure that `load_weights`, which found nothing for `missing`, has found what is `needed`.

    Raises:
        ModelError: it has not.
    """
    lacking = [f"{name} is missing" for name in needed if name in missing]
    if lacking:
        raise ModelError(f"The weights {path} do not fit the backbone: {_some(lacking)}.", hint=HINT, key=KEY)


def _some(said: list[str]) -> str:
    return "; ".join(said[:3]) + (f" and {len(said) - 3} more" if len(said) > 3 else "")


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and what it says of them if it is ours."""
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys()) if tensors else []
            found = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
        if tensors:
            verify(metadata, found)
    except FileNotFoundError as error:
        raise ModelError(
            f"The weights {path} are not there.", hint="Bring them back, or name others.", key=KEY
        ) from error
    except Exception as error:  # safetensors has its own error type, files have theirs
        hint = (
            "Restore it from a copy." if isinstance(error, DamagedError) else "It must be a safetensors file."
        )
        raise ModelError(f"The weights {path} cannot be read: {error}.", hint=hint, key=KEY) from error
    try:
        meta = json.loads(metadata.get(META, "{}"))
    except ValueError:  # somebody else's
        meta = {}
    return found, meta if isinstance(meta, dict) else {}
