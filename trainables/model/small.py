"""Small backbones of our own. None needs torchvision, whose import would cost seconds."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def _pooled(side: int, *, trimmed: int) -> int:
    """Side of a map after a convolution that trims `trimmed` pixels and a 2×2 pooling."""
    return (side - trimmed) // 2


class SmallCNN(nn.Module):
    """conv 3×3 to 8, pool, conv 3×3 to 16, pool, linear to `width`: any image size, small ones are padded.

    The convolutions pad by one pixel: otherwise pooling would drop the last rows and columns of 12×12 images.
    """

    smallest = 4  # two poolings leave 1×1

    def __init__(self, channels: int, image_size: tuple[int, int], width: int) -> None:
        super().__init__()
        height, width_pixels = image_size
        self.pad_bottom = max(0, self.smallest - height)
        self.pad_right = max(0, self.smallest - width_pixels)
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        rows = _pooled(_pooled(height + self.pad_bottom, trimmed=0), trimmed=0)
        columns = _pooled(_pooled(width_pixels + self.pad_right, trimmed=0), trimmed=0)
        self.shared = nn.Linear(16 * rows * columns, width)
        self.out_features = width

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width)."""
        x = (
            functional.pad(images, (0, self.pad_right, 0, self.pad_bottom))
            if self.pad_right or self.pad_bottom
            else images
        )
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        return functional.relu(self.shared(x.flatten(1)))


class LeNet(nn.Module):
    """conv 5×5 to 10, pool, conv 5×5 to 20, pool, linear to `width` (Sener & Koltun, NeurIPS 2018).

    28×28 is the canonical size (320 numbers before the linear layer); any other works, small ones are padded.
    """

    smallest = 16

    def __init__(self, channels: int, image_size: tuple[int, int], width: int) -> None:
        super().__init__()
        height, width_pixels = image_size
        self.pad_bottom = max(0, self.smallest - height)
        self.pad_right = max(0, self.smallest - width_pixels)
        self.conv1 = nn.Conv2d(channels, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        rows = _pooled(_pooled(height + self.pad_bottom, trimmed=4), trimmed=4)
        columns = _pooled(_pooled(width_pixels + self.pad_right, trimmed=4), trimmed=4)
        self.shared = nn.Linear(20 * rows * columns, width)
        self.out_features = width

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width)."""
        x = (
            functional.pad(images, (0, self.pad_right, 0, self.pad_bottom))
            if self.pad_right or self.pad_bottom
            else images
        )
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        return functional.relu(self.shared(x.flatten(1)))


class _Block(nn.Module):
    """Two 3×3 convolutions with batch normalisation and a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(out + self.shortcut(x))


class SmallImageResNet(nn.Module):
    """ResNet of depth 6·blocks + 2 with a 3×3 stem, for small images (He et al., CVPR 2016, section 4.2).

    Shortcuts that change the shape are 1×1 convolutions (the paper's option B).
    """

    def __init__(self, channels: int, blocks: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        channels_in = width
        for stage in range(3):
            channels_out = width * 2**stage
            for block in range(blocks):
                stages.append(_Block(channels_in, channels_out, 2 if stage > 0 and block == 0 else 1))
                channels_in = channels_out
        self.blocks = nn.Sequential(*stages)
        self.out_features = channels_in
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4·width)."""
        x = self.blocks(functional.relu(self.bn(self.stem(images))))
        return torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)
