"""The checksum of our safetensors files, whose own format has none: a flipped bit in them is noticed.

CRC-32 of what a file says and holds. It is there for disks and networks, not against whoever changes a file at will.
"""

import json
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

META = "meta"
"""The key of a file's metadata for what it says, as JSON."""
CHECKSUM = "crc32"
"""The key of its metadata for the checksum, in eight hex digits. Older files have none."""


class DamagedError(ValueError):
    """What a file holds is not what was written."""


def with_checksum(meta: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The metadata of a file that says `meta` and holds `tensors`, which are on the CPU."""
    return {META: meta, CHECKSUM: checksum(meta, tensors)}


def verify(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Compare what was read of a file with its checksum, if it has one.

    Raises:
        DamagedError: they do not go together.
    """
    said = metadata.get(CHECKSUM)
    if said is not None and said != checksum(metadata.get(META, ""), tensors):
        raise DamagedError("what it holds is not what was written (CRC-32)")


def checksum(meta: str, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of `meta` and of names, types, shapes and numbers of `tensors`, in the order of their names."""
    crc = zlib.crc32(meta.encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"
