"""Linear maps of channels, the same at every place, whatever the layout of a feature map."""

from torch import Tensor, nn

from trainables.model.stages import FeatureShape


def pointwise(shape: FeatureShape, channels_in: int, channels_out: int) -> nn.Module:
    """(B, *sizes) with `channels_in` channels -> the same places with `channels_out`: a 1×1 convolution."""
    if shape.channel_dim == len(shape.sizes) - 1:
        return nn.Linear(channels_in, channels_out)
    if shape.channel_dim == 0 and len(shape.sizes) == 3:
        return nn.Conv2d(channels_in, channels_out, 1)
    return _Moved(shape.channel_dim + 1, nn.Linear(channels_in, channels_out))


class _Moved(nn.Module):
    """A linear layer over another dimension than the last one."""

    def __init__(self, dim: int, linear: nn.Linear) -> None:
        super().__init__()
        self.dim = dim
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., C, ...) -> (B, ..., C', ...)."""
        mapped: Tensor = self.linear(x.movedim(self.dim, -1))
        return mapped.movedim(-1, self.dim)
