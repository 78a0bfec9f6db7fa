"""How far a mixture is from the optimum, in standard errors, and the step that leads there: Newton's. Floor 3.

With S the score (gradient of the log-likelihood over all rows) and I the information, the optimum lies about S^T I^-1 S / 2 nats above,
I^-1 S away; sqrt(S^T I^-1 S / p) is the root mean square of the parameters' errors in units of their standard errors. S follows from
the statistics of a look (Fisher's identity). I is that of a sample in memory (information.py, which says what the coordinates are), each
row counted as the rows that it stands for.
"""

__all__ = ["MOST_PARAMETERS", "NewtonStep", "decrement_towards", "newton_step"]

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from streamgmm.arrays import FloatArray
from streamgmm.block import Block
from streamgmm.components._gaussian import AbstractGaussian, GaussianMoments
from streamgmm.errors import ConfigError
from streamgmm.information import basis_of, information_of, shares_of, whitening_of
from streamgmm.linalg import invert_lower, is_positive_definite, unpack_symmetric
from streamgmm.mixture import Mixture
from streamgmm.ritz import ritz_pairs
from streamgmm.statistics import Statistics
from streamgmm.weights.free import FreeWeights

MOST_PARAMETERS = 4000  # an information matrix of more takes too long for every pass
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

    I is measured against the information that complete rows would hold: along its eigenvectors, of a large matrix those that matter to
    the score (ritz.py), their ratio is 1 where EM's own step is Newton's, 0 where nothing is known. The decrement takes its absolute
    value, at least SINGULAR: where that is not the ratio itself, the sample does not know the curvature, and the decrement is a guess. A
    step takes at least LEAST, and adds the damping (Levenberg): much of it makes a short step of EM.
    """
    components = mixture.components
    assert isinstance(components, AbstractGaussian)
    assert isinstance(moments, GaussianMoments)
    basis = basis_of(components.structure, components.n_features)
    score = _score_of(mixture, components, moments, basis)
    with threadpool_limits(1):  # the same bits whatever the number of threads
        information = information_of(mixture, sample, weight, threads)
        unit = _Complete.of(mixture, components, basis, weight)
        whitened, residual = unit.whitened(unit.whitened(information).T), unit.whitened(score)
        ratios, vectors = ritz_pairs(whitened, residual, SINGULAR)
        along = vectors.T @ residual
        used = np.maximum(np.abs(ratios), LEAST) + damping
        farthest = FARTHEST * np.sqrt(max(weight / sample.n_rows, 1.0) / used)
        step = np.clip(along / used, -farthest, farthest)
        decrement = (along**2 / np.maximum(np.abs(ratios), SINGULAR)).sum()
        expected = along @ step - (ratios * step**2).sum() / 2
        moved = _moved(mixture, components, basis, unit.unwhitened(vectors @ step))
        np.fill_diagonal(whitened, np.diagonal(whitened) - SINGULAR)
        return NewtonStep(float(decrement), float(expected), moved, is_guess=not is_positive_definite(whitened))


@dataclass(frozen=True, eq=False)
class _Complete:
    """Information of complete rows, as the inverse of its root: a matrix for the proportions, and one number for all else."""

    of_shares: FloatArray
    of_rest: FloatArray

    @classmethod
    def of(cls, mixture: Mixture, components: AbstractGaussian, basis: FloatArray, weight: float) -> "_Complete":
        shares = np.maximum(mixture.weights.proportions, np.finfo(np.float64).tiny)
        root = np.sqrt(shares_of(mixture, shares))  # with s for it, D = diag(s): the information is D (1 - s s^T) D
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
    basis, w = basis_of(components.structure, components.n_features), whitening_of(components)
    changes = w @ towards.dense_covariances() @ w.transpose(0, 2, 1) - np.eye(components.n_features)
    by_entry = np.einsum("pij,kij->kp", basis, changes) / np.einsum("pij,pij->p", basis, basis)
    ratios = np.log(other.weights.proportions / mixture.weights.proportions)
    means = np.einsum("kij,kj->ki", w, towards.means - components.means)
    step = (shares_of(mixture, ratios - ratios[-1]), means.ravel(), by_entry[: 1 if components.structure.shared else None].ravel())
    return float(_score_of(mixture, components, moments, basis) @ np.concatenate(step))


def _score_of(mixture: Mixture, components: AbstractGaussian, moments: GaussianMoments, basis: FloatArray) -> FloatArray:
    w, n = whitening_of(components), moments.n
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
        (shares_of(mixture, n - n.sum() * mixture.weights.proportions), first.ravel(), (along - weight[:, None] * trace).ravel() / 2)
    )


def _whitened_second(components: AbstractGaussian, moments: GaussianMoments, w: FloatArray) -> FloatArray:
    """Second moments of z: (1 or K, D, D) where dense, else those of each column, or of all."""
    if not components.structure.dense:
        return np.asarray(moments.second * components.whitening**2)
    second = unpack_symmetric(moments.second, components.n_features)
    return np.asarray(np.einsum("kij,kjl,kml->kim", w[: len(second)], second, w[: len(second)]))


def _moved(mixture: Mixture, components: AbstractGaussian, basis: FloatArray, step: FloatArray) -> Mixture | None:
    """The mixture at a step from this one; a covariance W^-1 (1 + E/2) (1 + E/2)^T W^-T is positive definite whatever E."""
    k, d = components.means.shape
    n_free = k - 1 if isinstance(mixture.weights, FreeWeights) else 0
    if not np.isfinite(step).all():
        return None
    factors = invert_lower(whitening_of(components))
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
