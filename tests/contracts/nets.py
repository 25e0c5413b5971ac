"""Backbones for contracts, named in configs as `tests.contracts.nets:…`."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Residual(nn.Module):
    def __init__(self, channels: int, mode: str, batch_norm: bool) -> None:
        super().__init__()
        from torchvision.ops import StochasticDepth

        self.stem = nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2), nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        )
        self.branch = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.Dropout2d(0.2))
        self.depth = StochasticDepth(0.4, mode)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.stem(images))
        x = x + self.depth(self.branch(x))
        x = x + self.depth(self.branch(x))  # the same layers twice: two draws
        features: Tensor = x.mean((2, 3))
        return features


def residual(
    channels: int, image_size: tuple[int, int], mode: str = "row", batch_norm: bool = False
) -> nn.Module:
    """Two residual branches with stochastic depth and channel dropout."""
    return _Residual(channels, mode, batch_norm)


class _Undivided(nn.Module):
    def __init__(self, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.layer = nn.Linear(channels * image_size[0] * image_size[1], 6)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layer(images.flatten(1))
        return features if bool(features.sum() > 0) else -features


class _Greedy(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            torch.empty(2**50)
        return images.mean((2, 3))


def greedy(channels: int, image_size: tuple[int, int]) -> nn.Module:
    """A backbone that wants a petabyte in training."""
    return _Greedy()


def undivided(channels: int, image_size: tuple[int, int]) -> nn.Module:
    """A backbone whose forward pass depends on values, which no trace can follow."""
    return _Undivided(channels, image_size)
