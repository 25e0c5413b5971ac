"""What is written to disk: everything an exact resume needs, and the model of the selected epoch.

safetensors and JSON only: loading a file can never run code.
"""

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainables.checksum import CHECKSUM, META, DamagedError, verify, with_checksum
from trainables.durable import flush, make_folders
from trainables.errors import CheckpointError
from trainables.training.storage import writing

FILE = "state.safetensors"
"""Tensors, and in the metadata `meta` as JSON and a checksum."""


@dataclass(frozen=True)
class TrainState:
    """A training after some epoch. Tensors are on the CPU; `meta` is JSON."""

    tensors: dict[str, Tensor]
    """`model/…`, `optimizer/…`, `ema/…`, `balancer/…`, `best/…`."""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelState:
    """The weights of the selected epoch (their moving average where one is used) and what they achieved."""

    tensors: dict[str, Tensor]
    """As `MultiTaskModel.state_dict()` names them."""
    meta: dict[str, Any] = field(default_factory=dict)
    """epoch, metrics, classes by task, image_shape, mean and std of the inputs, config, data_digest, and which
    tensors are the backbone's (`MultiTaskModel.backbone_names`)."""


def copied(tensors: Mapping[str, Tensor], device: torch.device | str | None = None) -> dict[str, Tensor]:
    """Copies, laid out as the originals are; on `device`, else where they are."""
    return {name: t.detach().to(device or t.device, copy=True) for name, t in tensors.items()}


def by_group(state: TrainState, groups: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """The tensors of `state` by the first part of their names, without it."""
    found: dict[str, dict[str, Tensor]] = {group: {} for group in groups}
    for key, tensor in state.tensors.items():
        group, _, name = key.partition("/")
        found[group][name] = tensor
    return found


def environment(precision: str, device: torch.device) -> dict[str, Any]:
    """What the last bits of a training depend on besides its config and data."""
    kind = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "hardware": kind,
    }


def save_state(state: TrainState | ModelState, directory: Path) -> None:
    """Write or replace the state in `directory`: one file, written beside, flushed to disk, then renamed.

    Whenever the process dies, `directory` does not exist or holds the old state or the new one.

    Raises:
        StorageError: it cannot be written; what was there stays.
    """
    directory = Path(directory)
    with writing(directory):
        _replace(directory, state)


def _replace(directory: Path, state: TrainState | ModelState) -> None:
    make_folders(directory.parent)
    unfinished = directory.parent / f".{directory.name}.{uuid.uuid4().hex[:8]}.tmp"
    unfinished.mkdir()
    try:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        metadata = with_checksum(json.dumps(state.meta), tensors)
        save_file(_unshared(tensors), unfinished / FILE, metadata)
        flush(unfinished / FILE)
        if directory.exists():
            (unfinished / FILE).replace(directory / FILE)
            unfinished.rmdir()
            flush(directory)
        else:
            flush(unfinished)
            unfinished.rename(directory)
        flush(directory.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that died were writing in `folder`. Nobody else may be writing there."""
    for unfinished in folder.glob(".*.tmp"):
        shutil.rmtree(unfinished, ignore_errors=True)


def load_state(directory: Path) -> TrainState:
    """Read what `save_state` wrote.

    Raises:
        CheckpointError: it is not there, or not what was written.
    """
    return TrainState(*_read(Path(directory)))


def load_model_state(directory: Path) -> ModelState:
    """Read the selected model that `save_state` wrote; raises as `load_state`."""
    return ModelState(*_read(Path(directory)))


def _read(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(directory / FILE, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        if metadata.keys() - {META, CHECKSUM}:  # the name of the checksum itself may be what is damaged
            raise DamagedError(f"its metadata have no {CHECKSUM}")
        verify(metadata, tensors)
        return tensors, json.loads(metadata[META])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"{directory} is not a readable checkpoint: {error}.",
            hint="Restore it from a copy, or train again: the same config and data give the same model.",
        ) from error


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share memory (tied weights) are copied: safetensors refuses them."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen or tensor.storage_offset() else tensor
        seen.add(pointer)
    return result
