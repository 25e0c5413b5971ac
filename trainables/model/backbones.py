"""Backbones by name: images to the features that all tasks share."""

from torch import nn

from trainables.config import model as config
from trainables.model import small


def build_backbone(
    model: config.ModelConfig, *, channels: int, image_size: tuple[int, int]
) -> tuple[nn.Module, int]:
    """The backbone, giving (B, F) features for (B, C, H, W) images, and F."""
    match model.backbone:
        case config.SmallCNN(width=width):
            return small.SmallCNN(channels, image_size, width), width
        case config.LeNet(width=width):
            return small.LeNet(channels, image_size, width), width
        case config.SmallImageResNet(blocks=blocks, width=width):
            net = small.SmallImageResNet(channels, blocks, width)
            return net, net.out_features
    raise NotImplementedError(model.backbone)
