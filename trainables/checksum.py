"""The checksum of our safetensors files, whose own format has none: a flipped bit in them is noticed.

CRC-32 of what a file says and holds. It is there for disks and networks, not against whoever changes a file at will.
Imports torch only if it is given torch's tensors. Types are named as their library names them: who writes a file with
one library must verify it with the same.
"""

import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Tensors = Mapping[str, torch.Tensor | NDArray[Any]]
    """By name, on the CPU."""

META = "meta"
"""The key of a file's metadata for what it says, as JSON."""
CHECKSUM = "crc32"
"""The key of its metadata for the checksum, in eight hex digits. Older files have none."""


class DamagedError(ValueError):
    """What a file holds is not what was written."""


def with_checksum(meta: str, tensors: "Tensors") -> dict[str, str]:
    """The metadata of a file that says `meta` and holds `tensors`."""
    return {META: meta, CHECKSUM: checksum(meta, tensors)}


def verify(metadata: Mapping[str, str], tensors: "Tensors") -> None:
    """Compare what was read of a file with its checksum, if it has one.

    Raises:
        DamagedError: they do not go together.
    """
    said = metadata.get(CHECKSUM)
    if said is not None and said != checksum(metadata.get(META, ""), tensors):
        raise DamagedError("what it holds is not what was written (CRC-32)")


def checksum(meta: str, tensors: "Tensors") -> str:
    """CRC-32 of `meta` and of names, types, shapes and numbers of `tensors`, in the order of their names."""
    crc = zlib.crc32(meta.encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode(), crc)
        crc = zlib.crc32(_bytes(tensor), crc)
    return f"{crc:08x}"


def _bytes(tensor: "torch.Tensor | NDArray[Any]") -> memoryview:
    if isinstance(tensor, np.ndarray):
        return tensor.reshape(-1).view(np.uint8).data
    import torch

    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)
