"""Two components become one with their moments. Floor 3.

Which two: those whose union costs least, an upper bound of the divergence that it adds (Runnalls 2007, IEEE Trans. Aerosp. 43, 989):
B(i,j) = [(p_i + p_j) log|V_ij| - p_i log|V_i| - p_j log|V_j|] / 2, with V_ij the covariance of the two together.
"""

__all__ = ["least_costly_pairs", "merged"]

from collections.abc import Sequence

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.mixture import Mixture

EMPTY = 1e-300


def least_costly_pairs(mixture: Mixture, n: int) -> list[tuple[int, int]]:
    """At most n pairs (i < j) without a component in common, the cheapest first."""
    cost = _costs(mixture)
    taken: list[tuple[int, int]] = []
    for flat in np.argsort(cost, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(cost))
        if len(taken) == n or not np.isfinite(cost[i, j]):
            break
        if not any({i, j} & set(pair) for pair in taken):
            taken.append((i, j))
    return taken


def merged(mixture: Mixture, pairs: Sequence[tuple[int, int]], *, keep: bool = False) -> Mixture:
    """Components i and j of each pair as one, in the place of i; j goes, or stays without weight (`keep`) for others to take.

    No component may be in two pairs.
    """
    components = mixture.components
    assert isinstance(components, AbstractGaussian)
    shares = mixture.weights.proportions.copy()
    means, covariances = components.means.copy(), components.dense_covariances()
    for i, j in pairs:
        means[i], covariances[i] = _union(shares, means, covariances, i, j)
        shares[i], shares[j] = shares[i] + shares[j], 0.0
    gone = set() if keep else {j for _, j in pairs}
    kept = [k for k in range(len(shares)) if k not in gone]
    proportions = shares[kept] / shares[kept].sum()
    return Mixture(type(components).from_dense(means[kept], covariances[kept], proportions), type(mixture.weights)(proportions))


def _union(shares: FloatArray, means: FloatArray, covariances: FloatArray, i: int, j: int) -> tuple[FloatArray, FloatArray]:
    total = max(shares[i] + shares[j], EMPTY)
    p, q = shares[i] / total, shares[j] / total
    apart = means[i] - means[j]
    return p * means[i] + q * means[j], p * covariances[i] + q * covariances[j] + p * q * np.outer(apart, apart)


def _costs(mixture: Mixture) -> FloatArray:
    """B (K K) above the diagonal, infinite elsewhere."""
    components = mixture.components
    assert isinstance(components, AbstractGaussian)
    shares = np.maximum(mixture.weights.proportions, EMPTY)
    covariances, means = components.dense_covariances(), components.means
    own = np.linalg.slogdet(covariances)[1]
    i, j = np.triu_indices(len(shares), 1)
    total = shares[i] + shares[j]
    p, q = (shares[i] / total)[:, None, None], (shares[j] / total)[:, None, None]
    apart = means[i] - means[j]
    union = p * covariances[i] + q * covariances[j] + p * q * apart[:, :, None] * apart[:, None, :]
    cost = np.full((len(shares), len(shares)), np.inf)
    cost[i, j] = (total * np.linalg.slogdet(union)[1] - shares[i] * own[i] - shares[j] * own[j]) / 2
    return cost
