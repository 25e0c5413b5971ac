"""Conflict-averse gradients."""

import math

import numpy as np

from trainables.balancing.balancer import NoWeights
from trainables.balancing.gramian import Array, Gradients, Weighting
from trainables.balancing.mgda import least_norm_weights

FURTHEST = 1e6
"""λ that counts as infinite."""


class CAGrad(Weighting):
    """CAGrad (Liu et al., NeurIPS 2021, algorithm 1): max_d min_t ⟨g_t, d⟩ with ‖d - g₀‖ ≤ c‖g₀‖.

    Its dual, min over the simplex of ⟨g_w, g₀⟩ + c‖g₀‖‖g_w‖, has the solution d = g₀ + λ g_w with
    λ‖g_w‖ = c‖g₀‖. For a given λ the same w makes g₀ + λ g_w, a convex combination of g₀ + λ g_t, the
    shortest, which is MGDA's problem; λ is then a root on a line. No conic solver is needed. Where no d
    improves all tasks, all w with g_w = 0 are solutions; here the d is taken that is the shortest.
    """

    def __init__(self, c: float) -> None:
        self.c = c

    def weigh(self, gradients: Gradients) -> Array:
        """1/T + λ w_t."""
        from scipy.optimize import brentq

        gramian_TT = gradients.gramian_TT
        tasks = len(gramian_TT)
        equal = np.full(tasks, 1 / tasks)
        mean_norm = math.sqrt(max(float(equal @ gramian_TT @ equal), 0))
        radius = self.c * mean_norm
        longest = math.sqrt(max(float(np.diag(gramian_TT).max()), 0))
        if tasks == 1 or radius <= 1e-12 * longest:
            return equal

        def inner(log_multiple: float) -> Array:
            shift = np.eye(tasks) * np.exp(log_multiple) + 1 / tasks  # row t makes g₀ + λ g_t
            shifted = shift @ gramian_TT @ shift.T
            return least_norm_weights(shifted / np.trace(shifted))

        def excess(log_multiple: float) -> float:
            w = inner(log_multiple)
            squared = max(float(w @ gramian_TT @ w), 1e-300)
            return log_multiple + 0.5 * math.log(squared) - math.log(radius)

        low = math.log(radius / longest)  # ‖g_w‖ is at most the longest gradient
        high = low + 1.0
        while excess(high) < 0 and high < math.log(FURTHEST):
            high += 3.0
        if excess(high) < 0:  # even λ → ∞ stays within the ball: the gradients cancel
            found = high
        elif excess(low) >= 0:
            found = low
        else:
            try:
                found = brentq(excess, low, high, xtol=1e-14, rtol=1e-14)
            except RuntimeError as error:
                raise NoWeights(str(error)) from error
        weights: Array = equal + np.exp(found) * inner(found)
        weights[np.diag(gramian_TT) <= 0] = 1 / tasks  # λ is as large as can be there, and does nothing
        return weights
