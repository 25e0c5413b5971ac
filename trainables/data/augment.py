"""Augmentation of batches, drawn per example: the same example in the same epoch looks the same in any batch.

Legend: B examples, C channels, H × W pixels.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trainables.config.data import Augmentation
from trainables.data.keyed import uniforms

Config = Literal["none", "light", "strong"] | Sequence[Augmentation]

LIGHT = (Augmentation(name="crop"), Augmentation(name="brightness"), Augmentation(name="contrast"))
"""Shifts and light: right for any picture."""

STRONG = (
    Augmentation(name="flip"),
    Augmentation(name="rotate"),
    *LIGHT,
    Augmentation(name="erase"),
)
"""`light`, and what is wrong for some pictures: text is not read mirrored, a 6 turned is a 9."""

AMOUNTS = {"crop": 0.125, "rotate": 10.0, "brightness": 0.2, "contrast": 0.2, "erase": 0.2}
"""`amount` where the config names none; what it means is said there."""

DRAWS = {"crop": 3, "flip": 1, "rotate": 2, "brightness": 2, "contrast": 2, "erase": 5}
"""Numbers drawn per example."""

MOVES = ("crop", "flip")
"""Those that only move pixels, which is four times as cheap before they become floats."""

ASPECT = 10 / 3
"""An erased rectangle is at most this much longer than wide, or wider than long."""


def augment(images: Tensor, example_ids: ArrayLike, *, seed: int, epoch: int, config: Config) -> Tensor:
    """Augmented copies of a batch; `images` itself is never written to.

    Every draw is keyed by (seed, epoch, example, augmentation), see `keyed.uniforms`.

    Args:
        images: (B, C, H, W) uint8, or floats in [0, 1].
        example_ids: (B,) row numbers in the dataset.
        seed: of the training.
        epoch: of the training.
        config: `data.augment`.

    Returns:
        (B, C, H, W) floats in [0, 1], of uint8 in [0, 255]; or still uint8, if pixels were only moved.
    """
    white = 1.0 if images.is_floating_point() else 255.0
    batch = images
    for n, step in enumerate(_steps(config)):
        draws = uniforms(seed, epoch, example_ids, f"augment.{n}.{step.name}", DRAWS[step.name])
        if step.name not in MOVES and not batch.is_floating_point():
            batch = batch.float()

        amount = AMOUNTS.get(step.name, 0.0) if step.amount is None else step.amount
        p = step.p if step.p is not None else 0.5 if step.name in ("flip", "erase") else 1.0
        match step.name:
            case "crop":
                batch = _crop(batch, draws, amount, p)
            case "flip":
                batch = torch.where(_chosen(batch, draws[:, 0], p), batch.flip(-1), batch)
            case "rotate":
                batch = _rotate(batch, draws, amount, p)
            case "brightness":
                batch = (batch * _factors(batch, draws, amount, p)).clamp_(0, white)
            case "contrast":
                batch = _contrast(batch, draws, amount, p).clamp_(0, white)
            case "erase":
                batch = _erase(batch, draws, amount, p, white / 2)
    return batch


def _steps(config: Config) -> Sequence[Augmentation]:
    match config:
        case "none":
            return ()
        case "light":
            return LIGHT
        case "strong":
            return STRONG
        case _:
            return config


def _crop(batch: Tensor, draws: NDArray[np.float64], amount: float, p: float) -> Tensor:
    """Shift by up to `amount` of the side on each axis; black comes in at the edge."""
    B, _, H, W = batch.shape
    reach_y, reach_x = round(amount * H), round(amount * W)
    if reach_y == reach_x == 0:
        return batch
    moved = draws[:, 0] < p
    y = np.where(moved, (draws[:, 1] * (2 * reach_y + 1)).astype(np.int64), reach_y)
    x = np.where(moved, (draws[:, 2] * (2 * reach_x + 1)).astype(np.int64), reach_x)
    padded = F.pad(batch, (reach_x, reach_x, reach_y, reach_y))
    windows = padded.unfold(2, H, 1).unfold(3, W, 1)  # (B, C, 2·reach_y + 1, 2·reach_x + 1, H, W), a view
    every = torch.arange(B, device=batch.device)
    return windows[every, :, _on(batch, y), _on(batch, x)]


def _rotate(batch: Tensor, draws: NDArray[np.float64], amount: float, p: float) -> Tensor:
    """Turn about the centre by up to ± `amount` degrees, bilinear; black comes in at the corners."""
    _, _, H, W = batch.shape
    angle = np.where(draws[:, 0] < p, (2 * draws[:, 1] - 1) * math.radians(amount), 0.0)
    cos, sin = np.cos(angle), np.sin(angle)
    zero = np.zeros_like(cos)
    # affine_grid's coordinates run from -1 to 1 on both axes, whatever the sides.
    matrix = np.stack([cos, -sin * (H / W), zero, sin * (W / H), cos, zero], axis=1).reshape(-1, 2, 3)
    theta = torch.from_numpy(matrix).to(batch)
    grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
    turned = F.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # Interpolating at angle 0 still rounds; those that are not turned stay exactly as they are.
    return torch.where(_chosen(batch, draws[:, 0], p), turned, batch)


def _contrast(batch: Tensor, draws: NDArray[np.float64], amount: float, p: float) -> Tensor:
    """Stretch away from the image's own mean by 1 ± `amount`."""
    factor = _factors(batch, draws, amount, p)
    mean = batch.mean(dim=(1, 2, 3), keepdim=True)
    return torch.addcmul(mean * (1 - factor), batch, factor)


def _erase(batch: Tensor, draws: NDArray[np.float64], amount: float, p: float, fill: float) -> Tensor:
    """A rectangle of up to `amount` of the area becomes `fill` (Zhong et al., Random Erasing, AAAI 2020)."""
    _, _, H, W = batch.shape
    area = draws[:, 1] * amount * H * W
    ratio = np.exp((2 * draws[:, 2] - 1) * math.log(ASPECT))
    high = np.minimum(np.rint(np.sqrt(area * ratio)), H)
    wide = np.minimum(np.rint(np.sqrt(area / ratio)), W)
    top = np.floor(draws[:, 3] * (H - high + 1))
    left = np.floor(draws[:, 4] * (W - wide + 1))
    high = np.where(draws[:, 0] < p, high, 0)
    y, x = np.arange(H), np.arange(W)
    rows = (y >= top[:, None]) & (y < (top + high)[:, None])
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
    erased = _on(batch, rows)[:, None, :, None] & _on(batch, columns)[:, None, None, :]
    return batch.masked_fill(erased, fill)


def _factors(batch: Tensor, draws: NDArray[np.float64], amount: float, p: float) -> Tensor:
    """(B, 1, 1, 1) factors 1 ± amount, 1 for examples that are not chosen."""
    factors = np.where(draws[:, 0] < p, 1 + (2 * draws[:, 1] - 1) * amount, 1.0)
    return torch.from_numpy(factors).to(batch)[:, None, None, None]


def _chosen(batch: Tensor, draw: NDArray[np.float64], p: float) -> Tensor:
    """(B, 1, 1, 1) which examples are changed."""
    return _on(batch, draw < p)[:, None, None, None]


def _on(batch: Tensor, values: NDArray[np.bool_] | NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(values).to(batch.device)
