"""The information that rows in memory hold about a mixture, after Louis (1982). Floor 3.

It is the sum of s s^T + sum over components of (C - B), with s the score of a row, B the outer products of a component's complete score,
weighted by responsibility, and C its complete information. Coordinates are whitened, per component z = W (x - m): m = m_0 + W^-1 u,
V = W^-1 exp(E) W^-T with E = sum_p e_p G_p, logarithms of proportions against the last one's. Then, of one row, s_u = r z,
s_e = r (z^T G z - tr G) / 2, s_pi = r - pi. Where components share a covariance, C - B is left out.

A row tells about few components only, and scores are polynomials: for every component the rows that feel it are summed once, by products
of features of its own z, for each other component with that one's responsibility; the other one's score is a linear map of the features.
"""

__all__ = ["TILE", "basis_of", "information_of", "shares_of", "whitening_of"]

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayK, ArrayN, ArrayND, FloatArray
from streamgmm.block import Block
from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.linalg import invert_lower
from streamgmm.mixture import Mixture
from streamgmm.weights.free import FreeWeights

ROWS_A_PARAMETER = 40  # rows of the sample at least: with 20, noise alone makes some of the eigenvalues of 64 components negative
MOST_ROWS, MOST_FLOPS = 200_000, 2e10  # of outer products, if there were no shorter way: more is not needed where parameters are few
CUT = 1e-4  # of a component's density over the mixture's: rows below it hold less than this share of the component's weight
TILE = 1 << 20  # numbers of a tile: responsibilities, or products of features
FEW_FEATURES, FEW_LINES = 160, 8  # beyond or below, distinct products of features take longer to write than all of them to sum

Indices = npt.NDArray[np.intp]


def information_of(mixture: Mixture, sample: Block, weight: float, threads: int) -> FloatArray:
    """The matrix (p p) of rows with this weight in all, from those of a sample. The same bits whatever the number of threads.

    Libraries of linear algebra must be held to one thread by whoever calls.
    """
    components = mixture.components
    assert isinstance(components, AbstractGaussian)
    p = mixture.n_parameters
    wanted = max(ROWS_A_PARAMETER * p, min(MOST_ROWS, int(MOST_FLOPS / (2 * p * p))))
    taken = np.linspace(0, sample.n_rows, min(wanted, sample.n_rows), endpoint=False).astype(np.intp)
    x = sample.x[taken]
    share = np.ones(len(x)) if sample.sample_weight is None else sample.sample_weight[taken]
    ordered = _Ordered.of(mixture, components)
    sums = _summed(mixture, ordered, x, share * (weight / share.sum()), threads)
    return _assembled(mixture, components.structure, ordered, sums, weight)


@dataclass(frozen=True, eq=False)
class _Ordered:
    """Components, the narrowest first: the map from features of its z to the score of a wider one loses no digits.

    number: as which the mixture knows each. cut: responsibilities at or below take no part.
    """

    number: Indices
    means: FloatArray
    whitening: FloatArray
    cut: ArrayK
    features: "_Features"

    @classmethod
    def of(cls, mixture: Mixture, components: AbstractGaussian) -> "_Ordered":
        whitening = whitening_of(components)
        number = np.argsort(-np.abs(whitening).max(axis=(1, 2)), kind="stable")
        cut = CUT * mixture.weights.proportions[number]
        return cls(number, components.means[number], whitening[number], cut, _features(components.structure, components.n_features))


@dataclass(frozen=True, eq=False)
class _Features:
    """Of z: 1, z, and its quadratic forms. basis: the matrices G. first, second: factors of their distinct products; at (F F): which."""

    basis: FloatArray
    forms: tuple[Indices, Indices, Indices]
    first: Indices
    second: Indices
    at: Indices

    @property
    def half(self) -> FloatArray:
        """The forms' matrices: the lower triangles of G."""
        return np.tril(self.basis)

    def of(self, z: FloatArray) -> FloatArray:
        """Features (F n) of z (D n)."""
        form, rows, columns = self.forms
        products = z[rows] * z[columns]
        quadratic = products if len(form) == len(self.basis) else products.sum(axis=0, keepdims=True)
        return np.concatenate((np.ones((1, z.shape[1])), z, quadratic))

    def sums(self, z: FloatArray, by: FloatArray) -> FloatArray:
        """Sums of the products for z (D n), for each line of weights (L n)."""
        features = self.of(z)
        if len(self.at) <= FEW_FEATURES and len(by) > FEW_LINES:
            return np.asarray(by @ (features[self.first] * features[self.second]).T)
        return np.stack([((features * one) @ features.T)[self.first, self.second] for one in by])


@lru_cache(maxsize=4)
def _features(structure: Structure, d: int) -> _Features:
    basis = basis_of(structure, d)
    form, rows, columns = np.nonzero(np.tril(basis))
    quadratic = [(-1,)] if structure.isotropic else list(zip(rows.tolist(), columns.tolist(), strict=True))
    factors: list[tuple[int, ...]] = [(), *((i,) for i in range(d)), *quadratic]
    first, second = np.triu_indices(len(factors))
    at = np.empty((len(factors), len(factors)), np.intp)
    at[first, second] = at[second, first] = np.arange(len(first))
    if len(factors) <= FEW_FEATURES:
        kinds: dict[tuple[int, ...], int] = {}
        kind = [kinds.setdefault(tuple(sorted(factors[a] + factors[b])), len(kinds)) for a, b in zip(first, second, strict=True)]
        _, chosen = np.unique(kind, return_index=True)
        at, first, second = np.array(kind)[at], first[chosen], second[chosen]
    return _Features(basis, (form, rows, columns), first, second, at)


# ---- sums over rows ----------------------------------------------------------------------------------------------------


def _summed(mixture: Mixture, ordered: _Ordered, x: ArrayND, weight: ArrayN, threads: int) -> Sequence[FloatArray]:
    """For every component j: sums of w r_j r_l f f^T for all l from j on, then of w r_j f f^T, f the features of z_j."""
    k = len(ordered.number)
    sums = [np.zeros((k - j + 1, len(ordered.features.first))) for j in range(k)]
    with ThreadPoolExecutor(threads, "streamgmm-information") as pool:
        for tile in _tiles(mixture, ordered, x, weight):
            jobs = [pool.submit(_add, one, ordered, j, *tile) for j, one in enumerate(sums)]
            for job in jobs:
                job.result()
    return sums


def _tiles(mixture: Mixture, ordered: _Ordered, x: ArrayND, weight: ArrayN) -> Iterator[tuple[ArrayND, FloatArray, ArrayN]]:
    """Rows, responsibilities (K n) in this order, weights."""
    n = max(256, TILE // max(len(ordered.number), len(ordered.features.first)))
    for start in range(0, len(x), n):
        rows = np.ascontiguousarray(x[start : start + n])
        yield rows, np.ascontiguousarray(mixture.responsibilities(rows).T[ordered.number]), weight[start : start + n]


def _add(sums: FloatArray, ordered: _Ordered, j: int, x: ArrayND, r: FloatArray, weight: ArrayN) -> None:
    rows = np.flatnonzero(r[j] > ordered.cut[j])
    own = r[j, rows] * weight[rows]
    by = np.concatenate((r[j:, rows] * own, own[None]))
    sums += ordered.features.sums(ordered.whitening[j] @ (x[rows] - ordered.means[j]).T, by)


# ---- the matrix --------------------------------------------------------------------------------------------------------


def _assembled(mixture: Mixture, structure: Structure, ordered: _Ordered, sums: Sequence[FloatArray], weight: float) -> FloatArray:
    """One matrix of all parameters, that of a proportion too many at the front, which is left out."""
    k, d = ordered.means.shape
    at = _places(k, d, len(ordered.features.basis), structure)[ordered.number]
    size = int(at.max()) + 1
    total, scores = np.zeros((size, size)), np.zeros(size)
    for j, compact in enumerate(sums):
        own, scores_of = compact[:, ordered.features.at], _scores(ordered, j)
        blocks = scores_of[0] @ own @ np.concatenate((scores_of, scores_of[:1])).transpose(0, 2, 1)
        scores[at[j]] += blocks[-1][0]
        blocks[0] /= 2  # it meets its own transpose
        total[at[j]] += _lines(blocks[:-1], at[j:], size, 1 + d if structure.shared else 0)
        if not structure.shared:
            total[np.ix_(at[j][1:], at[j][1:])] += (_complete(ordered.features.basis, own[-1]) - blocks[-1][1:, 1:]) / 2
    total += total.T
    shares = np.zeros(k)
    shares[at[:, 0]] = mixture.weights.proportions[ordered.number]
    total[:k] -= np.outer(shares, scores)
    total[:, :k] -= np.outer(scores, shares)
    total[:k, :k] += weight * np.outer(shares, shares)
    left_out = 1 if isinstance(mixture.weights, FreeWeights) else k
    return total[left_out:, left_out:]


def _lines(blocks: FloatArray, at: Indices, size: int, shared_from: int) -> FloatArray:
    """One component's blocks with others (L F F) as lines (F size) of the matrix. shared_from: place of what all share, 0 for nothing."""
    lines = np.zeros((blocks.shape[1], size))
    lines[:, at] = blocks.transpose(1, 0, 2)
    if shared_from:
        lines[:, at[0, shared_from:]] = blocks[:, :, shared_from:].sum(axis=0)
    return lines


def _places(k: int, d: int, p: int, structure: Structure) -> Indices:
    """Where the score of each component (K F) stands: its proportion, the last one's first; its mean; its covariance, or that of all."""
    each = np.arange(k)[:, None]
    covariance = k + k * d + (0 if structure.shared else p) * each + np.arange(p)
    return np.concatenate(((each + 1) % k, k + d * each + np.arange(d), covariance), axis=1)


def _scores(ordered: _Ordered, j: int) -> FloatArray:
    """The complete scores of the components from j on as maps (L F F) of the features of z_j."""
    basis, half = ordered.features.basis, ordered.features.half
    p, d, _ = basis.shape
    w = ordered.whitening[j:]
    a = w @ invert_lower(w[:1])  # another's z is a z_j + b
    b = np.einsum("lij,lj->li", w, ordered.means[j] - ordered.means[j:])
    made = np.zeros((len(w), 1 + d + p, 1 + d + p))
    made[:, 0, 0] = 1.0
    made[:, 1 : 1 + d, 0], made[:, 1 : 1 + d, 1 : 1 + d] = b, a
    along = np.einsum("li,pij->lpj", b, basis)
    made[:, 1 + d :, 0] = (np.einsum("lpj,lj->lp", along, b) - np.einsum("pii->p", basis)) / 2
    made[:, 1 + d :, 1 : 1 + d] = along @ a
    forms = (a.transpose(0, 2, 1)[:, None] @ basis @ a[:, None]).reshape(len(w), p, d * d)
    made[:, 1 + d :, 1 + d :] = forms @ basis.reshape(p, d * d).T / (2 * np.einsum("pij,pij->p", half, basis))
    return made


def _complete(basis: FloatArray, sums: FloatArray) -> FloatArray:
    """C of a component's mean and covariance, from sums of w r f f^T."""
    p, d, _ = basis.shape
    weight, first, second = sums[0, 0], sums[0, 1 : 1 + d], sums[1 : 1 + d, 1 : 1 + d]
    cross = basis @ first
    forms = (basis @ second).reshape(p, d * d) @ basis.reshape(p, d * d).T / 2
    return np.block([[weight * np.eye(d), cross.T], [cross, forms]])


# ---- coordinates -------------------------------------------------------------------------------------------------------


def basis_of(structure: Structure, d: int) -> FloatArray:
    """The symmetric matrices G (P D D) that the logarithm of a whitened covariance may be made of."""
    if structure.isotropic:
        return np.eye(d)[None]
    if not structure.dense:
        return np.asarray(np.eye(d)[:, :, None] * np.eye(d)[:, None, :])
    rows, columns = np.tril_indices(d)
    basis = np.zeros((len(rows), d, d))
    at = np.arange(len(rows))
    basis[at, rows, columns] = basis[at, columns, rows] = 1.0
    return basis


def whitening_of(components: AbstractGaussian) -> FloatArray:
    """W (K D D), lower triangular."""
    k, d = components.means.shape
    w = components.whitening
    return np.broadcast_to(w if components.structure.dense else w[:, :, None] * np.eye(d), (k, d, d))


def shares_of(mixture: Mixture, counts: ArrayK) -> ArrayK:
    """Of numbers of all components, those of proportions that are free parameters."""
    return counts[:-1] if isinstance(mixture.weights, FreeWeights) else counts[:0]
