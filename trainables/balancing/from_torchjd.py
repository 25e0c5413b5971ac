"""Gramian weightings that TorchJD has, needs no solver of another licence for, and keeps no state in."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchjd.aggregation import AlignedMTLWeighting, DualProjWeighting, IMTLGWeighting, UPGradWeighting
from torchjd.linalg import DualConeProjector, PSDMatrix

from trainables.balancing.balancer import NoWeights
from trainables.balancing.gramian import Array, Gradients, Weighting
from trainables.balancing.mgda import factor, nonnegative_least_squares
from trainables.config.balancing import (
    AlignedMTLBalancing,
    DualProjBalancing,
    IMTLGBalancing,
    UPGradBalancing,
)


class NonnegativeProjector(DualConeProjector):
    """Projection onto the dual cone (Quinton & Rey 2024, proposition 1): min vᵀGv with v ≥ u.

    With v = u + x and G = AᵀA that is nonnegative least squares, ‖Ax + Au‖, which SciPy solves exactly. It is
    solved for unit gradients: a small one counts like any other. TorchJD's own projector wants quadprog,
    which is GPL, and adds 1e-4 to the diagonal, below which gradients do not count.
    """

    def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:
        """(..., T) vectors u and the (T, T) Gramian -> (..., T) vectors v."""
        gramian_TT = G.numpy()
        norms = np.sqrt(np.maximum(np.diag(gramian_TT), 0))
        some = norms > 0
        projected = U.numpy().reshape(-1, len(norms)).copy()
        if some.any():
            root = factor(gramian_TT[np.ix_(some, some)] / np.outer(norms[some], norms[some]))
            for u in projected:
                u[some] += nonnegative_least_squares(root, -root @ (u[some] * norms[some])) / norms[some]
        return torch.from_numpy(projected).reshape(U.shape)


class TorchJD(Weighting):
    """A weighting of TorchJD as it is."""

    def __init__(self, weighting: Callable[[Tensor], Tensor]) -> None:
        self.weighting = weighting

    def weigh(self, gradients: Gradients) -> Array:
        """What TorchJD says."""
        try:
            weights: Array = self.weighting(torch.from_numpy(gradients.gramian_TT)).numpy()
        except RuntimeError as error:
            raise NoWeights(str(error)) from error
        return weights


def build_torchjd(
    config: IMTLGBalancing | AlignedMTLBalancing | UPGradBalancing | DualProjBalancing,
) -> TorchJD:
    """The weighting that `config` names."""
    match config:
        case IMTLGBalancing():
            return TorchJD(IMTLGWeighting())
        case AlignedMTLBalancing(scale=scale):
            return TorchJD(AlignedMTLWeighting(scale_mode=scale))
        case UPGradBalancing():
            return TorchJD(UPGradWeighting(projector=NonnegativeProjector()))
        case DualProjBalancing():
            return TorchJD(DualProjWeighting(projector=NonnegativeProjector()))
