"""Number formats of a training, and which one `auto` is."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from trainables.training.world import World


@dataclass(frozen=True)
class Precision:
    """How numbers are kept and multiplied."""

    name: Literal["fp32", "bf16", "fp64"]
    parameters: torch.dtype
    """Of parameters, optimizer state and inputs."""
    autocast: bool
    """Multiply in bfloat16."""
    memory_format: torch.memory_format


def resolve_precision(
    setting: Literal["auto", "fp32", "bf16", "fp64"], world: World, backbone: nn.Module
) -> Precision:
    """What `training.precision` means for `backbone`; `auto` is bf16 where every worker multiplies it."""
    name = setting
    if name == "auto":
        able = torch.tensor(float(multiplies_bf16(world.device)), device=world.device)
        name = "bf16" if world.all_reduce_sum(able).item() == world.size else "fp32"
    match name:
        case "fp64":
            return Precision("fp64", torch.float64, False, torch.contiguous_format)
        case "bf16":
            return Precision("bf16", torch.float32, True, torch.channels_last)
        case _:
            last = world.device.type == "cpu" and is_narrow(backbone)
            layout = torch.channels_last if last else torch.contiguous_format
            return Precision("fp32", torch.float32, False, layout)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices natively: GPUs since Ampere, CPUs with AMX.

    AVX-512's bfloat16 instructions alone do not count: measured on one core with them and without AMX, bf16
    with channels_last ran at 0.82 of the fp32 speed for resnet18 at 36×36 and 0.65 for mobilenet_v3_small.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def is_narrow(backbone: nn.Module) -> bool:
    """Whether fp32 convolutions of `backbone` are faster with channels_last on a CPU: few channels, or depthwise.

    Measured on one core: lenet 1.57, small_cnn 1.51, small_resnet 1.33 and mobilenet_v3_small 1.50 times the
    speed of the contiguous layout, but resnet18 0.79 (at 36×36).
    """
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    depthwise = any(m.groups > 1 and m.groups == m.in_channels for m in convolutions)
    return depthwise or all(m.out_channels <= 64 for m in convolutions)
