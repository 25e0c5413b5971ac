"""Number formats of a training, and which one `auto` is."""

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Precision:
    """How numbers are kept and multiplied."""

    name: Literal["fp32", "bf16", "fp64"]
    parameters: torch.dtype
    """Of parameters, optimizer state and inputs."""
    autocast: bool
    """Multiply in bfloat16."""
    memory_format: torch.memory_format


def resolve_precision(setting: Literal["auto", "fp32", "bf16", "fp64"], device: torch.device) -> Precision:
    """What `training.precision` means on `device`."""
    name = ("bf16" if multiplies_bf16(device) else "fp32") if setting == "auto" else setting
    match name:
        case "fp64":
            return Precision("fp64", torch.float64, False, torch.contiguous_format)
        case "bf16":
            return Precision("bf16", torch.float32, True, torch.channels_last)
        case _:
            return Precision("fp32", torch.float32, False, torch.contiguous_format)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices natively: GPUs since Ampere, CPUs with AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())
