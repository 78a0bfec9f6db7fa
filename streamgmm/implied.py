"""What stepwise EM is made of, whoever loops over rows: moments that a mixture implies, and the length of its steps. Floor 3."""

__all__ = ["ALPHA", "T0", "gaussian", "implied_moments", "step_length"]

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.components._gaussian import AbstractGaussian, GaussianMoments
from streamgmm.linalg import largest_eigenvalues, pack
from streamgmm.mixture import Mixture

ALPHA, T0 = 0.6, 2.0  # 1/2 < ALPHA <= 1: lengths sum to infinity and their squares do not; T0 keeps the first ones short


def gaussian(mixture: Mixture) -> AbstractGaussian:
    """The mixture's components, which are added up as moments."""
    assert isinstance(mixture.components, AbstractGaussian)
    return mixture.components


def implied_moments(mixture: Mixture, weight: float = 1.0, reg_covar: float = 0.0) -> GaussianMoments:
    """What so many rows would give if the mixture came of them, about its means: n = W pi, no first moment, A = n (V - reg_covar).

    reg_covar: the ridge that the next M-step adds; V holds one already.
    """
    components, n = gaussian(mixture), weight * mixture.weights.proportions
    entries = _without_ridge(components.dense_covariances(), reg_covar, dense=components.structure.dense)
    second = components.structure.reduce(n[:, None] * entries)
    return GaussianMoments(components.means, n, np.zeros_like(components.means), second)


def _without_ridge(covariances: FloatArray, reg_covar: float, *, dense: bool) -> FloatArray:
    """Covariances (K D D) less a ridge, packed, or variances (K D); no more is taken than leaves none, or no eigenvalue, below 0."""
    if not dense:
        variances: FloatArray = np.maximum(np.einsum("kii->ki", covariances) - reg_covar, 0)
        return variances
    if reg_covar == 0:
        return pack(covariances)
    ridge = np.clip(-largest_eigenvalues(-covariances), 0, reg_covar)
    return pack(covariances - ridge[:, None, None] * np.eye(covariances.shape[-1]))


def step_length(t: float) -> float:
    """The share that a batch has in the moments, after t batches."""
    return float((t + T0) ** -ALPHA)
