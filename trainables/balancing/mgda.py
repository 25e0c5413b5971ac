"""The shortest convex combination of gradients."""

from typing import Literal

import numpy as np

from trainables.balancing.balancer import NoWeights
from trainables.balancing.gramian import Array, Gradients, Weighting


def factor(gramian_TT: Array) -> Array:
    """A with AᵀA = G, for any positive semi-definite G up to rounding."""
    values, vectors = np.linalg.eigh(gramian_TT)
    root: Array = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return root


def nonnegative_least_squares(matrix: Array, target: Array) -> Array:
    """The x ≥ 0 with the least ‖Mx - b‖ (Lawson & Hanson 1974, by SciPy).

    Raises:
        NoWeights: it does not converge.
    """
    from scipy.optimize import nnls

    try:
        found: Array = nnls(matrix, target, maxiter=100 * matrix.shape[1])[0]
    except (RuntimeError, ValueError) as error:
        raise NoWeights(str(error)) from error
    return found


def least_norm_weights(gramian_TT: Array) -> Array:
    """The α of the simplex with the least αᵀGα.

    As nonnegative least squares: x ≥ 0 that minimises xᵀGx + (1ᵀx - 1)² is a multiple of α, because for a
    sum s of x the best value is s²·αᵀGα + (s - 1)². Unlike Frank-Wolfe's, the answer is exact, so that
    rounding on several workers cannot lead to another vertex.
    """
    matrix = np.vstack([factor(gramian_TT), np.ones(len(gramian_TT))])
    target = np.zeros(len(matrix))
    target[-1] = 1
    found = nonnegative_least_squares(matrix, target)
    weights: Array = found / found.sum()
    return weights


class MGDA(Weighting):
    """Multiple-gradient descent (Désidéri 2012; Sener & Koltun, NeurIPS 2018, eq. 3), solved exactly.

    `normalize` as in Sener & Koltun's code: the problem is solved for gradients divided by their norms, their
    losses, or both; the weights found are those of the gradients as they are.
    """

    def __init__(self, normalize: Literal["none", "l2", "loss", "loss+"]) -> None:
        self.normalize = normalize
        self.needs_losses = normalize in ("loss", "loss+")

    def weigh(self, gradients: Gradients) -> Array:
        """They sum to 1."""
        divisors = np.ones(len(gradients.gramian_TT))
        if self.normalize in ("l2", "loss+"):
            divisors *= np.sqrt(np.diag(gradients.gramian_TT))
        if self.needs_losses:
            divisors *= gradients.losses
        divisors[divisors <= 0] = 1  # a gradient or loss of zero stays zero, and so does the step
        normal = gradients.gramian_TT / np.outer(divisors, divisors)
        return least_norm_weights(normal / max(np.trace(normal), np.finfo(float).tiny))
