"""How far a mixture is from the optimum, in standard errors: the Newton decrement. Floor 3.

With S the score (gradient of the log-likelihood over all rows) and I the information, the optimum lies S^T I^-1 S / 2 nats above, and
sqrt(S^T I^-1 S / p) is the root mean square of the parameters' errors in units of their standard errors. S follows from the
statistics of a look (Fisher's identity); I from the scores of the rows of a sample, each counted as the rows that it stands for
(outer products: under a wrong model an estimate of it, and not the only one). In whitened coordinates of each component,
z = W (x - m): s_m = r z, s_V = r (z z^T - 1) / 2 with off-diagonal entries doubled, s_pi = r - pi.
"""

__all__ = ["MOST_PARAMETERS", "decrement"]

import numpy as np
from threadpoolctl import threadpool_limits

from streamgmm.arrays import ArrayK, ArrayND, FloatArray
from streamgmm.block import Block
from streamgmm.components._gaussian import AbstractGaussian, GaussianMoments
from streamgmm.linalg import unpack_symmetric
from streamgmm.mixture import Mixture
from streamgmm.statistics import Statistics
from streamgmm.weights.free import FreeWeights

MOST_PARAMETERS = 2000  # an information matrix of more takes too long for every pass
ROWS_A_PARAMETER = 20  # so many rows of the sample are enough
LEAST_ROWS = 20_000
TILE = 1 << 22  # numbers of a tile of scores
SINGULAR = 1e-10  # of the largest eigenvalue: what is below is not determined by any number of rows


def decrement(mixture: Mixture, moments: Statistics, weight: float, sample: Block) -> float:
    """S^T I^-1 S for moments about this mixture, of rows with this weight in all.

    Directions in which the sample determines nothing count as if it determined next to nothing.
    """
    score = _score_of(mixture, moments)
    with threadpool_limits(1):  # the same bits whatever the number of threads
        information = _information(mixture, sample) * (weight / _weight_of(sample).sum())
        size = np.sqrt(np.maximum(np.diagonal(information), np.finfo(np.float64).tiny))
        values, vectors = np.linalg.eigh(information / size / size[:, None])
        along = vectors.T @ (score / size)
    return float((along**2 / np.maximum(values, SINGULAR * values[-1])).sum())


def _score_of(mixture: Mixture, moments: Statistics) -> FloatArray:
    components = mixture.components
    assert isinstance(components, AbstractGaussian)
    assert isinstance(moments, GaussianMoments)
    d, n = components.n_features, moments.n
    w = _whitening(components)
    first = np.einsum("kij,kj->ki", w, moments.first)
    s = components.structure
    if s.dense:
        second = unpack_symmetric(moments.second, d)
        whitened = np.einsum("kij,kjl,kml->kim", w[: len(second)], second, w[: len(second)])
        weight = np.array([n.sum()]) if s.shared else n
        centred = _halves(whitened - weight[:, None, None] * np.eye(d))
    else:
        inverse = components.whitening**2
        weight = (np.array([n.sum()]) if s.shared else n)[:, None]
        centred = (moments.second * inverse - weight * (d if s.isotropic else 1)) / 2
    return np.concatenate((_shares(mixture, n - n.sum() * mixture.weights.proportions), first.ravel(), centred.ravel()))


def _information(mixture: Mixture, sample: Block) -> FloatArray:
    components = mixture.components
    assert isinstance(components, AbstractGaussian)
    p = mixture.n_parameters
    every = max(1, sample.n_rows // max(LEAST_ROWS, ROWS_A_PARAMETER * p))
    x, weight = sample.x[::every], _weight_of(sample)[::every]
    information = np.zeros((p, p))
    tile = max(64, TILE // p)
    for start in range(0, len(x), tile):
        scores = _scores(mixture, components, x[start : start + tile])
        information += scores.T @ (scores * weight[start : start + tile, None])
    scaled: FloatArray = information * (_weight_of(sample).sum() / weight.sum())
    return scaled


def _scores(mixture: Mixture, components: AbstractGaussian, x: ArrayND) -> FloatArray:
    """Scores (n p) of rows, in the order of `_score_of`."""
    n, (k, d), s = len(x), components.means.shape, components.structure
    r = mixture.responsibilities(x)
    z = np.einsum("kij,nkj->nki", _whitening(components), x[:, None, :] - components.means)
    first = r[:, :, None] * z
    if s.dense:
        rows, columns = np.tril_indices(d)
        second = z[:, :, rows] * z[:, :, columns] - (rows == columns)
        second *= r[:, :, None] * np.where(rows == columns, 0.5, 1.0)
    else:
        second = r[:, :, None] * (z**2 - 1) / 2
        second = second.sum(axis=2, keepdims=True) if s.isotropic else second
    second = second.sum(axis=1, keepdims=True) if s.shared else second
    free = (r - mixture.weights.proportions)[:, :-1] if isinstance(mixture.weights, FreeWeights) else r[:, :0]
    return np.concatenate((free, first.reshape(n, k * d), second.reshape(n, -1)), axis=1)


def _whitening(components: AbstractGaussian) -> FloatArray:
    """W (K D D), lower triangular."""
    k, d = components.means.shape
    w = components.whitening
    return np.broadcast_to(w if components.structure.dense else w[:, :, None] * np.eye(d), (k, d, d))


def _halves(matrices: FloatArray) -> FloatArray:
    """Lower triangles (K P) of symmetric matrices, the diagonal halved."""
    rows, columns = np.tril_indices(matrices.shape[-1])
    return np.asarray(matrices[:, rows, columns] * np.where(rows == columns, 0.5, 1.0))


def _shares(mixture: Mixture, counts: ArrayK) -> ArrayK:
    return counts[:-1] if isinstance(mixture.weights, FreeWeights) else counts[:0]


def _weight_of(sample: Block) -> FloatArray:
    return np.ones(sample.n_rows) if sample.sample_weight is None else sample.sample_weight
