"""What stepwise EM is made of, whoever loops over rows: moments that a mixture implies, and the length of its steps. Floor 3."""

__all__ = ["ALPHA", "T0", "gaussian", "implied_moments", "step_length"]

import numpy as np

from streamgmm.components._gaussian import AbstractGaussian, GaussianMoments
from streamgmm.linalg import pack
from streamgmm.mixture import Mixture

ALPHA, T0 = 0.6, 2.0  # 1/2 < ALPHA <= 1: lengths sum to infinity and their squares do not; T0 keeps the first ones short


def gaussian(mixture: Mixture) -> AbstractGaussian:
    """The mixture's components, which are added up as moments."""
    assert isinstance(mixture.components, AbstractGaussian)
    return mixture.components


def implied_moments(mixture: Mixture, weight: float = 1.0) -> GaussianMoments:
    """What so many rows would give if they followed the mixture, about its means: n = W pi, no first moment, A = n V."""
    components, n = gaussian(mixture), weight * mixture.weights.proportions
    covariances = components.dense_covariances()
    entries = pack(covariances) if components.structure.dense else np.ascontiguousarray(np.einsum("kii->ki", covariances))
    second = components.structure.reduce(n[:, None] * entries)
    return GaussianMoments(components.means, n, np.zeros_like(components.means), second)


def step_length(t: float) -> float:
    """The share that a batch has in the moments, after t batches."""
    return float((t + T0) ** -ALPHA)
