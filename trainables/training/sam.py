"""Sharpness-aware minimisation: the gradient that counts is the one at the worst point nearby."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainables.config.training import SAM

ETA = 0.01
"""Added to |w| by ASAM, as in its official code: weights that are zero move too."""
TINY = 1e-12
"""Where there is no gradient, there is no ascent."""


@contextmanager
def ascended(parameters: Sequence[nn.Parameter], config: SAM) -> Iterator[None]:
    """Within it, `parameters` stand at w + ε and have no `.grad`; afterwards they are exactly at w again.

    ε comes from the gradient g in their `.grad`, which is already that of all workers together:
    ε = ρ g/‖g‖ (SAM: Foret et al., ICLR 2021, eq. 2 with p = 2), or, `adaptive`,
    ε = ρ T²g/‖Tg‖ with T = |w| + η (ASAM: Kwon et al., ICML 2021, section 3), of biases as of weights.
    """
    moved: list[Tensor] = [p for p in parameters if p.grad is not None]
    if not moved:
        yield
        return
    with torch.no_grad():
        kept = [p.clone() for p in moved]
        torch._foreach_add_(moved, _ascent(kept, [p.grad for p in moved if p.grad is not None], config))
    for parameter in moved:
        parameter.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(moved, kept)


def _ascent(weights: list[Tensor], gradients: list[Tensor], config: SAM) -> list[Tensor]:
    """ε by parameter."""
    if not config.adaptive:
        return list(torch._foreach_mul(gradients, _length(gradients, config.rho)))
    scales = torch._foreach_add(torch._foreach_abs(weights), ETA)
    scaled = torch._foreach_mul(gradients, scales)
    return list(torch._foreach_mul(torch._foreach_mul(scaled, scales), _length(scaled, config.rho)))


def _length(vectors: Sequence[Tensor], rho: float) -> Tensor:
    """What makes `vectors`, taken together, as long as `rho`; no device is waited for."""
    norm = torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(list(vectors)))))
    length: Tensor = rho / (norm + TINY)
    return length
