"""From shared uint8 images to normalised batches on the device."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data.joined import JoinedImages
from trainables.training.precision import Precision

Augment = Callable[[Tensor, Tensor], Tensor]
"""(uint8 images (B, C, H, W), numbers of what is drawn (B,)) -> images of that shape, uint8 or float, in [0, 255]."""


class ImageBatches:
    """Gathers rows of the image array and normalises them: (x / 255 - mean) / std per channel.

    Images of one channel become as many as `mean` has.
    """

    def __init__(
        self,
        images: NDArray[np.uint8] | JoinedImages,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        precision: Precision,
        device: torch.device,
    ) -> None:
        # The arrays may be shared by several processes: they are only ever read.
        self._images = images if isinstance(images, JoinedImages) else torch.from_numpy(images)
        self._count = len(images)
        self._precision = precision
        self._device = device
        # Grey images for a network that reads RGB: three equal channels, each normalised its way.
        self._repeat = len(mean) > images.shape[1]
        scale = [1 / (255 * s) for s in std]
        shift = [-m / s for m, s in zip(mean, std, strict=True)]
        shape = (1, len(scale), 1, 1)
        # One channel needs no broadcasting tensors: a number is faster.
        self._scale: Tensor | float = scale[0] if len(scale) == 1 else self._constant(scale).view(shape)
        self._shift: Tensor | float = shift[0] if len(shift) == 1 else self._constant(shift).view(shape)

    def _constant(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=self._precision.parameters, device=self._device)

    def batch(self, rows: Tensor, augment: Augment | None = None, turns: Tensor | None = None) -> Tensor:
        """Normalised images (B, C, H, W) of `rows` (B,), on the device.

        `turns` (B,): how often each row has been drawn before in this epoch, if any has: it is augmented anew.
        """
        if isinstance(self._images, JoinedImages):
            images = torch.from_numpy(self._images[rows.numpy()])
        else:
            images = self._images.index_select(0, rows)
        if self._device.type != "cpu":
            images = images.pin_memory().to(self._device, non_blocking=True)
        if augment is not None:
            images = augment(images, rows if turns is None else rows + turns * self._count)
        x = images.to(self._precision.parameters, memory_format=self._precision.memory_format)
        if self._repeat:
            return (x * self._scale).add_(self._shift).contiguous(memory_format=self._precision.memory_format)
        return x.mul_(self._scale).add_(self._shift)
