"""How far a mixture is from the optimum, in standard errors, and the step that leads there: Newton's. Floor 3.

With S the score (gradient of the log-likelihood over all rows) and I the information, the optimum lies about S^T I^-1 S / 2 nats above,
I^-1 S away; sqrt(S^T I^-1 S / p) is the root mean square of the parameters' errors in units of their standard errors. S follows from
the statistics of a look (Fisher's identity). I is that of a sample in memory, each row counted as the rows that it stands for, after
Louis (1982): sum of s s^T + sum over components of (C - B), with s the score of a row, B the outer products of a component's complete
score, weighted by responsibility, and C its complete information. Coordinates are whitened, per component z = W (x - m):
m = m_0 + W^-1 u, V = W^-1 exp(E) W^-T with E = sum_p e_p G_p, logarithms of proportions against the last one's. Then, of one row,
s_u = r z, s_e = r (z^T G z - tr G) / 2, s_pi = r - pi. Where components share a covariance, C - B is left out.
"""

__all__ = ["MOST_PARAMETERS", "TILE", "NewtonStep", "decrement_towards", "newton_step"]

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from streamgmm.arrays import ArrayK, ArrayN, ArrayND, FloatArray
from streamgmm.block import Block
from streamgmm.components._gaussian import AbstractGaussian, GaussianMoments
from streamgmm.errors import ConfigError
from streamgmm.linalg import invert_lower, unpack_symmetric
from streamgmm.mixture import Mixture
from streamgmm.statistics import Statistics
from streamgmm.weights.free import FreeWeights

MOST_PARAMETERS = 2000  # an information matrix of more takes too long for every pass
ROWS_A_PARAMETER = 20  # rows of the sample at least
MOST_ROWS, MOST_FLOPS = 200_000, 2e10  # else: the sum of outer products takes a second or two
CHUNKS = 4  # of the sample, summed side by side, and added in their order
TILE = 1 << 20  # numbers of a tile of scores
SINGULAR = 1e-4  # of the information of complete rows: what is below, or negative, the sample does not determine
LEAST = 1e-2  # the same, for steps
FARTHEST = 4.0  # standard errors of the sample that a step may go in any direction


@dataclass(frozen=True, eq=False)
class NewtonStep:
    """decrement: S^T I^-1 S. expected: nats that the step should gain. mixture: where it leads, None where nothing sound is.

    is_guess: the information is not positive definite; the decrement alone is no reason to end.
    """

    decrement: float
    expected: float
    mixture: Mixture | None
    is_guess: bool = False


def newton_step(mixture: Mixture, moments: Statistics, weight: float, sample: Block, damping: float = 0.0, threads: int = 1) -> NewtonStep:
    """For moments about this mixture, of rows with this weight in all.

    I is measured against the information that complete rows would hold: along its eigenvectors their ratio is 1 where EM's own step is
    Newton's, 0 where nothing is known. The decrement takes its absolute value, at least SINGULAR: where that is not the ratio itself, the
    sample does not know the curvature, and the decrement is a guess. A step takes at least LEAST, and adds the damping (Levenberg): much
    of it makes a short step of EM.
    """
    components = mixture.components
    assert isinstance(components, AbstractGaussian)
    assert isinstance(moments, GaussianMoments)
    basis = _basis(components)
    score = _score_of(mixture, components, moments, basis)
    with threadpool_limits(1):  # the same bits whatever the number of threads
        information = _information(mixture, components, basis, sample, threads)
        information *= weight / float(_weight_of(sample).sum())
        unit = _Complete.of(mixture, components, basis, weight)
        ratios, vectors = np.linalg.eigh(unit.whitened(unit.whitened(information).T))
        along = vectors.T @ unit.whitened(score)
        used = np.maximum(np.abs(ratios), LEAST) + damping
        farthest = FARTHEST * np.sqrt(max(weight / sample.n_rows, 1.0) / used)
        step = np.clip(along / used, -farthest, farthest)
        decrement = (along**2 / np.maximum(np.abs(ratios), SINGULAR)).sum()
        expected = along @ step - (ratios * step**2).sum() / 2
        moved = _moved(mixture, components, basis, unit.unwhitened(vectors @ step))
        return NewtonStep(float(decrement), float(expected), moved, is_guess=bool(ratios[0] < SINGULAR))


@dataclass(frozen=True, eq=False)
class _Complete:
    """Information of complete rows, as the inverse of its root: a matrix for the proportions, and one number for all else."""

    of_shares: FloatArray
    of_rest: FloatArray

    @classmethod
    def of(cls, mixture: Mixture, components: AbstractGaussian, basis: FloatArray, weight: float) -> "_Complete":
        shares = np.maximum(mixture.weights.proportions, np.finfo(np.float64).tiny)
        root = np.sqrt(_shares(mixture, shares))  # with s for it, D = diag(s): the information is D (1 - s s^T) D
        more = np.outer(root, root) * (1 / (np.sqrt(shares[-1]) * (1 + np.sqrt(shares[-1])))) if root.size else 0.0
        means = np.repeat(shares, components.n_features)
        traces = np.einsum("pij,pij->p", basis, basis) / 2
        covariances = np.outer(shares.sum(keepdims=True) if components.structure.shared else shares, traces)
        of_rest = 1 / np.sqrt(weight * np.concatenate((means, covariances.ravel())))
        return cls((np.eye(root.size) + more) / root / np.sqrt(weight), of_rest)

    def whitened(self, values: FloatArray) -> FloatArray:
        """Of rows (p ...) in the coordinates of scores."""
        n = len(self.of_shares)
        return np.concatenate((self.of_shares @ values[:n], (values[n:].T * self.of_rest).T))

    def unwhitened(self, step: FloatArray) -> FloatArray:
        """Of a step (p), back to the parameters' coordinates."""
        n = len(self.of_shares)
        return np.concatenate((self.of_shares.T @ step[:n], step[n:] * self.of_rest))


def decrement_towards(mixture: Mixture, moments: Statistics, other: Mixture) -> float:
    """S^T step, which is S^T I^-1 S where the step to the other mixture is Newton's."""
    components, towards = mixture.components, other.components
    assert isinstance(components, AbstractGaussian)
    assert isinstance(towards, AbstractGaussian)
    assert isinstance(moments, GaussianMoments)
    basis, w = _basis(components), _whitening(components)
    changes = w @ towards.dense_covariances() @ w.transpose(0, 2, 1) - np.eye(components.n_features)
    by_entry = np.einsum("pij,kij->kp", basis, changes) / np.einsum("pij,pij->p", basis, basis)
    ratios = np.log(other.weights.proportions / mixture.weights.proportions)
    means = np.einsum("kij,kj->ki", w, towards.means - components.means)
    step = (_shares(mixture, ratios - ratios[-1]), means.ravel(), by_entry[: 1 if components.structure.shared else None].ravel())
    return float(_score_of(mixture, components, moments, basis) @ np.concatenate(step))


def _basis(components: AbstractGaussian) -> FloatArray:
    """The symmetric matrices G (P D D) that the logarithm of a whitened covariance may be made of."""
    d, s = components.n_features, components.structure
    if s.isotropic:
        return np.eye(d)[None]
    if not s.dense:
        return np.asarray(np.eye(d)[:, :, None] * np.eye(d)[:, None, :])
    rows, columns = np.tril_indices(d)
    basis = np.zeros((len(rows), d, d))
    at = np.arange(len(rows))
    basis[at, rows, columns] = basis[at, columns, rows] = 1.0
    return basis


def _score_of(mixture: Mixture, components: AbstractGaussian, moments: GaussianMoments, basis: FloatArray) -> FloatArray:
    w, n = _whitening(components), moments.n
    first = np.einsum("kij,kj->ki", w, moments.first)
    second = _whitened_second(components, moments, w)
    weight = np.array([n.sum()]) if components.structure.shared else n
    trace = np.einsum("pii->p", basis)
    if components.structure.dense:
        along = np.einsum("pij,kij->kp", basis, second)
    elif components.structure.isotropic:
        along = second.sum(axis=1, keepdims=True)
    else:
        along = second
    return np.concatenate(
        (_shares(mixture, n - n.sum() * mixture.weights.proportions), first.ravel(), (along - weight[:, None] * trace).ravel() / 2)
    )


def _whitened_second(components: AbstractGaussian, moments: GaussianMoments, w: FloatArray) -> FloatArray:
    """Second moments of z: (1 or K, D, D) where dense, else those of each column, or of all."""
    if not components.structure.dense:
        return np.asarray(moments.second * components.whitening**2)
    second = unpack_symmetric(moments.second, components.n_features)
    return np.asarray(np.einsum("kij,kjl,kml->kim", w[: len(second)], second, w[: len(second)]))


def _information(mixture: Mixture, components: AbstractGaussian, basis: FloatArray, sample: Block, threads: int) -> FloatArray:
    p = mixture.n_parameters
    wanted = max(ROWS_A_PARAMETER * p, min(MOST_ROWS, int(MOST_FLOPS / (2 * p * p))))
    every = max(1, sample.n_rows // wanted)
    x, weight = sample.x[::every], _weight_of(sample)[::every]
    edges = np.linspace(0, len(x), CHUNKS + 1).astype(int)
    chunks = [slice(first, last) for first, last in pairwise(edges)]
    with ThreadPoolExecutor(threads, "streamgmm-information") as pool:
        parts = pool.map(lambda rows: _part(mixture, components, basis, x[rows], weight[rows]), chunks)
        total = np.zeros((p, p))
        for part in parts:
            total += part
    return np.asarray(total * (_weight_of(sample).sum() / weight.sum()))


def _part(mixture: Mixture, components: AbstractGaussian, basis: FloatArray, x: ArrayND, weight: ArrayN) -> FloatArray:
    p = mixture.n_parameters
    total = np.zeros((p, p))
    tile = max(64, TILE // p)
    for start in range(0, len(x), tile):
        _add(total, mixture, components, basis, x[start : start + tile], weight[start : start + tile])
    return total


def _add(total: FloatArray, mixture: Mixture, components: AbstractGaussian, basis: FloatArray, x: ArrayND, weight: ArrayN) -> None:
    n, (k, d) = len(x), components.means.shape
    r = mixture.responsibilities(x)
    z = np.ascontiguousarray(((x - components.means[:, None]) @ _whitening(components).transpose(0, 2, 1)).transpose(1, 0, 2))
    along = _along(components, z)
    free = (r - mixture.weights.proportions)[:, :-1] if isinstance(mixture.weights, FreeWeights) else r[:, :0]
    second = r[:, :, None] * along
    second = second.sum(axis=1, keepdims=True) if components.structure.shared else second
    scores = np.concatenate((free, (r[:, :, None] * z).reshape(n, k * d), second.reshape(n, -1)), axis=1)
    total += scores.T @ (scores * weight[:, None])
    if not components.structure.shared:
        _add_complete(total, free.shape[1], basis, z, along, r * weight[:, None])


def _along(components: AbstractGaussian, z: FloatArray) -> FloatArray:
    """(z^T G z - tr G) / 2 for every row and component (n K P)."""
    s, d = components.structure, components.n_features
    if s.isotropic:
        return np.asarray(((z**2).sum(axis=2, keepdims=True) - d) / 2)
    if not s.dense:
        return np.asarray((z**2 - 1) / 2)
    rows, columns = np.tril_indices(d)
    return np.asarray((z[:, :, rows] * z[:, :, columns] - (rows == columns)) * np.where(rows == columns, 0.5, 1.0))


def _add_complete(total: FloatArray, n_free: int, basis: FloatArray, z: FloatArray, along: FloatArray, weight: FloatArray) -> None:
    """C - B of every component, in its own rows and columns of the matrix."""
    _, k, d = z.shape
    p = along.shape[2]
    for j in range(k):
        mine = z[:, j]
        complete = np.concatenate((mine, along[:, j]), axis=1)
        block = -complete.T @ (complete * weight[:, j, None])
        first, second = weight[:, j] @ mine, mine.T @ (mine * weight[:, j, None])
        block[:d, :d] += weight[:, j].sum() * np.eye(d)
        cross = (basis @ first).T
        block[:d, d:] += cross
        block[d:, :d] += cross.T
        moved = (basis @ second).reshape(p, d * d)
        block[d:, d:] += moved @ basis.reshape(p, d * d).T / 2
        at = np.concatenate((n_free + j * d + np.arange(d), n_free + k * d + j * p + np.arange(p)))
        total[np.ix_(at, at)] += block


def _moved(mixture: Mixture, components: AbstractGaussian, basis: FloatArray, step: FloatArray) -> Mixture | None:
    """The mixture at a step from this one; a covariance W^-1 (1 + E/2) (1 + E/2)^T W^-T is positive definite whatever E."""
    k, d = components.means.shape
    n_free = k - 1 if isinstance(mixture.weights, FreeWeights) else 0
    if not np.isfinite(step).all():
        return None
    factors = invert_lower(_whitening(components))
    means = components.means + np.einsum("kij,kj->ki", factors, step[n_free : n_free + k * d].reshape(k, d))
    inner = np.eye(d) + np.einsum("kp,pij->kij", step[n_free + k * d :].reshape(-1, len(basis)), basis) / 2
    roots = np.einsum("kij,kjl->kil", factors, np.broadcast_to(inner, (k, d, d)))
    weights = mixture.weights
    try:
        if n_free:
            logits = np.append(step[:n_free], 0.0)
            shares = weights.proportions * np.exp(logits - logits.max())
            weights = FreeWeights(shares / shares.sum())
        made = type(components).from_dense(means, np.einsum("kij,klj->kil", roots, roots), weights.proportions)
    except ConfigError:
        return None
    return Mixture(made, weights)


def _whitening(components: AbstractGaussian) -> FloatArray:
    """W (K D D), lower triangular."""
    k, d = components.means.shape
    w = components.whitening
    return np.broadcast_to(w if components.structure.dense else w[:, :, None] * np.eye(d), (k, d, d))


def _shares(mixture: Mixture, counts: ArrayK) -> ArrayK:
    return counts[:-1] if isinstance(mixture.weights, FreeWeights) else counts[:0]


def _weight_of(sample: Block) -> ArrayN:
    return np.ones(sample.n_rows) if sample.sample_weight is None else sample.sample_weight
