"""Nash's bargaining solution and its α-fair relatives, by Newton's method."""

import numpy as np

from trainables.balancing.balancer import NoWeights
from trainables.balancing.gramian import Array, Gradients, Weighting

ITERATIONS = 100
RESIDUAL = 1e-12
ROUNDING = 1e-14
"""What each equation may be off by, relative to its right side and to the sizes of what its left side adds up."""
CANCELLED = 1e-11
"""Where so little is left of a sum, the gradients cancel."""


def equal_gains(gramian_TT: Array, power: float) -> Array:
    """The solution w > 0 of Gw = w^(-power), for a Gramian whose diagonal is positive.

    It minimises the strictly convex ½wᵀGw - Σ_t φ(w_t), φ' = w^(-power). In u_t = w_t √G_tt, the problem
    has the gradients' cosines C in place of G: Cu = k u^(-power), k_t = √G_tt^(power - 1). Newton's steps are
    shortened until they stay positive and the function falls (Armijo's rule).

    Raises:
        NoWeights: the minimum is at infinity (gradients that cancel), or was not found.
    """
    norms = np.sqrt(np.diag(gramian_TT))
    cosines = gramian_TT / np.outer(norms, norms)
    k = norms ** (power - 1)
    u = k ** (1 / (1 + power))  # exact where gradients are orthogonal
    if (squared := float(u @ cosines @ u)) > 0:  # of its multiples, the one with the least of the function
        u = u * (float(k @ u ** (1 - power)) / squared) ** (1 / (1 + power))

    def objective(at: Array) -> float:
        gained = np.log(at) if power == 1 else at ** (1 - power) / (1 - power)
        return 0.5 * float(at @ cosines @ at) - float(k @ gained)

    for _ in range(ITERATIONS):
        gains = cosines @ u
        wanted = k * u**-power
        summed = np.abs(cosines) @ u
        if np.any(wanted < CANCELLED * summed):
            break
        if np.all(np.abs(gains - wanted) <= RESIDUAL * wanted + ROUNDING * summed):
            weights: Array = u / norms
            return weights
        hessian = cosines + np.diag(power * wanted / u)
        try:
            step = np.linalg.solve(hessian, wanted - gains)
        except np.linalg.LinAlgError as error:
            raise NoWeights(str(error)) from error
        falling = step < 0
        length = min(1.0, 0.99 * float(np.min(-u[falling] / step[falling], initial=np.inf)))
        slope, before = float((gains - wanted) @ step), objective(u)
        while objective(u + length * step) > before + 0.1 * length * slope + 1e-12 * abs(before):
            length /= 2
        u = u + length * step
        if not np.all(np.isfinite(u)):
            break
    raise NoWeights("Newton's method did not converge: the gradients cancel")


class _Bargaining(Weighting):
    """Tasks whose gradient is zero have nothing to gain and weigh 0."""

    power: float

    def solve(self, gramian_TT: Array) -> Array:
        """Gw = w^(-power) over the tasks that have a gradient."""
        some = np.diag(gramian_TT) > 0
        weights = np.zeros(len(gramian_TT))
        if some.any():
            weights[some] = equal_gains(gramian_TT[np.ix_(some, some)], self.power)
        return weights


class NashMTL(_Bargaining):
    """Nash-MTL (Navon et al., ICML 2022, claim 3.1): Gα = 1/α. The step's length is √T, at most `max_norm`.

    Departure: solved to the end at every step by Newton's method; the paper linearises and stops early. The
    step is the same whatever the losses are multiplied by.
    """

    power = 1.0

    def __init__(self, max_norm: float | None) -> None:
        self.max_norm = max_norm

    def weigh(self, gradients: Gradients) -> Array:
        """All are positive."""
        weights = self.solve(gradients.gramian_TT)
        if gradients.scale > 0:
            length = float(np.sqrt(max(float(weights @ gradients.gramian_TT @ weights), 0)))
            weights /= np.sqrt(gradients.scale)
            if self.max_norm is not None and length > self.max_norm:
                weights *= self.max_norm / length
        return weights


class FairGrad(_Bargaining):
    """FairGrad (Ban & Ji, ICML 2024, eq. 4): Gw = w^(-1/α). With α = 1 the step does not depend on scale.

    Departure: Newton's method on the convex problem behind the equation instead of least squares.
    """

    def __init__(self, alpha: float) -> None:
        self.power = 1 / alpha

    def weigh(self, gradients: Gradients) -> Array:
        """All are positive."""
        weights = self.solve(gradients.gramian_TT)
        return weights * gradients.scale ** (-1 / (1 + self.power)) if gradients.scale > 0 else weights
