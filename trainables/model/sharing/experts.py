"""Experts and the gates that mix them."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from trainables.model.sharing.structure import Addition, chain


class Gate(Addition):
    """How much of each of E experts a task takes: softmax(W x / temperature)."""

    def __init__(self, features: int, experts: int, temperature: float) -> None:
        super().__init__()
        self.linear = nn.Linear(features, experts)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> (B, E), rows sum to 1."""
        return torch.softmax(self.linear(x) / self.temperature, dim=1)


class Expert(nn.Module):
    """Consecutive parts of a backbone."""

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """What every part gives."""
        return tuple(chain(self.parts, x))


def mixed(shares: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """Σ_e share_e · output_e: (B, E), E tensors (B, *sizes) -> (B, *sizes)."""
    total: Tensor | None = None
    for share, output in zip(shares.unbind(1), outputs, strict=True):
        term = share.view(-1, *[1] * (output.dim() - 1)).to(output.dtype) * output
        total = term if total is None else total + term
    assert total is not None  # noqa: S101 there is always an expert
    return total
