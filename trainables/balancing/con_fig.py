"""Conflict-free gradients by equal cosines."""

import numpy as np

from trainables.balancing.gramian import Array, Gradients, Weighting


class ConFIG(Weighting):
    """ConFIG (Liu et al., ICLR 2025, eq. 2): v = U⁺1 with the unit gradients U, as long as Σ_t ⟨g_t, v/‖v‖⟩.

    U⁺1 = Uᵀ(UUᵀ)⁺1, and UUᵀ are the cosines: the Gramian is all that is needed. A zero gradient has no
    direction and weighs 0.
    """

    def weigh(self, gradients: Gradients) -> Array:
        """Zeros where no direction has equal positive cosines."""
        norms = np.sqrt(np.maximum(np.diag(gradients.gramian_TT), 0))
        some = norms > 0
        weights = np.zeros(len(norms))
        if some.any():
            cosines = gradients.gramian_TT[np.ix_(some, some)] / np.outer(norms[some], norms[some])
            units = np.linalg.pinv(cosines, hermitian=True) @ np.ones(len(cosines))
            products = cosines @ units
            squared = float(units @ products)
            if squared > 1e-12:
                weights[some] = units / norms[some] * float(norms[some] @ products) / squared
        return weights
