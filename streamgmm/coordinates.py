"""A mixture as one vector without bounds, so that steps between mixtures can be added. Floor 3.

v = (log pi_k / pi_K for k < K, means, Cholesky factors of the covariances with the logarithm of their diagonals): every vector is a
mixture. `scale` gives the length of each direction in standard errors of one row, as far as responsibilities are certain: in it
neither a column's unit nor its offset decides anything.
"""

__all__ = ["from_vector", "scale_of", "to_vector"]

import math

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.linalg import cholesky, pack, unpack_lower
from streamgmm.mixture import Mixture
from streamgmm.weights.free import FreeWeights

LEAST_SHARE = 1e-300  # of a component without rows: its logarithm has to be a number


def to_vector(mixture: Mixture) -> FloatArray:
    """The vector (p) of a mixture of Gaussians."""
    components = _gaussian(mixture)
    shares = np.log(np.maximum(mixture.weights.proportions, LEAST_SHARE))
    free = shares[:-1] - shares[-1] if _has_free_weights(mixture) else shares[:0]
    return np.concatenate((free, components.means.ravel(), _log_factors(components).ravel()))


def from_vector(vector: FloatArray, like: Mixture) -> Mixture:
    """Inverse of `to_vector`. Raises ConfigError where nothing of full rank comes out of it (overflow, underflow)."""
    components, k, d = _gaussian(like), like.n_components, like.n_features
    free = k - 1 if _has_free_weights(like) else 0
    weights = like.weights
    if free:
        logits = np.append(vector[:free], 0.0)
        shares = np.exp(logits - logits.max())
        weights = FreeWeights(shares / shares.sum())
    means = vector[free : free + k * d].reshape(k, d)
    factors = vector[free + k * d :].reshape(_log_factors(components).shape)
    return Mixture(type(components)(np.ascontiguousarray(means), _covariances(factors, components)), weights)


def scale_of(mixture: Mixture) -> FloatArray:
    """Inverse of the standard error (p) that one row leaves in each coordinate, were its component known."""
    components, shares = _gaussian(mixture), mixture.weights.proportions
    root = np.sqrt(np.maximum(shares, LEAST_SHARE))
    deviations = np.sqrt(np.einsum("kii->ki", components.dense_covariances()))
    free = root[:-1] if _has_free_weights(mixture) else root[:0]
    means = root[:, None] / deviations
    s = components.structure
    of_factor = np.ones((1, 1)) if s.shared else root[:, None]
    if not s.dense:
        entries = math.sqrt(2 * (components.n_features if s.isotropic else 1)) * np.broadcast_to(of_factor, _log_factors(components).shape)
    else:
        own = deviations[:1] if s.shared else deviations
        d = components.n_features
        entries = pack(np.broadcast_to((of_factor / own)[:, :, None], (len(own), d, d)).copy())
        diagonal = np.cumsum(np.arange(1, d + 1)) - 1
        entries[:, diagonal] = math.sqrt(2) * of_factor
    return np.concatenate((free, means.ravel(), np.asarray(entries).ravel()))


def _log_factors(components: AbstractGaussian) -> FloatArray:
    """Packed lower factors with the logarithm of the diagonal (1 or K, P), or logarithms of deviations (1 or K, D or 1)."""
    s, d = components.structure, components.n_features
    if not s.dense:
        return np.asarray(np.log(components.covariances.reshape(-1, 1 if s.isotropic else d)) / 2)
    factors = cholesky(components.covariances.reshape(-1, d, d))
    logs = factors.copy()
    at = np.arange(d)
    logs[:, at, at] = np.log(factors[:, at, at])
    return pack(logs)


def _covariances(logs: FloatArray, like: AbstractGaussian) -> FloatArray:
    s, d = like.structure, like.n_features
    with np.errstate(over="ignore", under="ignore"):
        if not s.dense:
            return np.exp(2 * logs).reshape(like.covariances.shape)
        factors = unpack_lower(logs, d)
        at = np.arange(d)
        factors[:, at, at] = np.exp(factors[:, at, at])
        product = np.einsum("kij,klj->kil", factors, factors)
        covariances: FloatArray = ((product + product.transpose(0, 2, 1)) / 2).reshape(like.covariances.shape)
        return covariances


def _gaussian(mixture: Mixture) -> AbstractGaussian:
    assert isinstance(mixture.components, AbstractGaussian)
    return mixture.components


def _has_free_weights(mixture: Mixture) -> bool:
    return isinstance(mixture.weights, FreeWeights)
