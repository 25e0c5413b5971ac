"""Operations of a forward pass, against torch's own counter, which is slow to import."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainables.model.flops import count_flops


class Attention(nn.Module):
    """Attention by a module, by a function, and by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.attention(images, images, images, need_weights=False)[0]
        x = functional.scaled_dot_product_attention(x, x, x)
        scores: torch.Tensor = torch.einsum("b i d, b j d -> b i j", x, x)
        return scores.softmax(-1) @ x


NETS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, groups=4), nn.BatchNorm2d(8), nn.ReLU()
        ),
        (1, 3, 12, 10),
    ),
    "transposed convolution": (nn.ConvTranspose2d(3, 4, 3, stride=2), (1, 3, 5, 5)),
    "linear": (nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3)), (1, 3, 4)),
    "attention": (Attention(), (1, 6, 8)),
}


def counted_by_torch(net: nn.Module, images: torch.Tensor) -> int:
    """Attention as its products: torch counts neither the fused kernel of CPUs nor the fast path without gradients."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net.eval()(images)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", NETS)
def test_counts_are_those_of_torch(name: str) -> None:
    net, shape = NETS[name]
    images = torch.zeros(shape)
    assert count_flops(net, images) == counted_by_torch(net, images)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "vit_b_32", "swin_t", "swin_v2_t", "convnext_tiny", "maxvit_t"]
)
def test_counts_of_whole_networks_are_those_of_torch(name: str) -> None:
    from torchvision import models

    net, images = models.get_model(name, weights=None).eval(), torch.zeros(1, 3, 224, 224)
    assert count_flops(net, images) == counted_by_torch(net, images)


def test_a_hand_worked_convolution() -> None:
    """10×10 outputs of 8 channels, 27 weights each; a multiplication and an addition per weight."""
    assert count_flops(nn.Conv2d(3, 8, 3, bias=False), torch.zeros(1, 3, 12, 12)) == 2 * 8 * 100 * 27


def test_counting_imports_nothing() -> None:
    code = (
        "import sys, torch; from trainables.model.flops import count_flops; before = set(sys.modules); "
        "count_flops(torch.nn.Linear(2, 3), torch.zeros(1, 2)); print(len(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 0
