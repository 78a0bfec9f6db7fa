"""k-means|| (Bahmani et al. 2012): seeds from a few reads of all rows, where no sample is to be kept. Floor 5.

Seven reads: one for the columns and a first seed, five that each add 2 K rows drawn with probability in proportion to their squared
distance from the seeds so far, and one that counts every row, with its moments, for the nearest of the 10 K + 1 seeds; these, weighted,
are then grouped in memory (k-means, greedy k-means++). Distances are of standardised columns. A row is drawn by an exponential key from
a hash of its place: the smallest keys win, exactly so many rows a read, whatever cuts, orders or repeats the blocks' results.
"""

__all__ = ["KMeansParallel"]

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.cluster
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from streamgmm.arrays import ArrayD, ArrayN, ArrayND, FloatArray
from streamgmm.block import Block
from streamgmm.column_moments import Columns
from streamgmm.components._gaussian import AbstractGaussian, GaussianMoments
from streamgmm.components.gaussian_tied_spherical import GaussianTiedSpherical
from streamgmm.errors import DataError
from streamgmm.executors.base import AbstractExecutor
from streamgmm.initialisers._sample import Sample, mixture_of_groups, refuse_underflow, rows_of, shrunk
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.linalg import pack, packed_size, unpack_symmetric
from streamgmm.mixture import Mixture
from streamgmm.sources._held_out import mixed
from streamgmm.sources.base import AbstractSource

ROUNDS = 5
OVERSAMPLING = 2  # times K rows a round
TRIES = 10  # of the grouping in memory, which is of few rows

Look = Callable[[Callable[[Block], Any], Callable[[Any, Any], Any]], Any]  # a read of all rows: function of a block, merge


class KMeansParallel(AbstractInitialiser):
    """k-means|| seeds, grouped by k-means; over a table in seven reads, or on a sample in memory."""

    name = "kmeans_parallel"

    def start(self, family: type[AbstractGaussian], sample: Sample, n_components: int, rng: np.random.Generator) -> Mixture:
        """See the base class."""
        return _made(lambda function, merge: function(sample.block), family, n_components, rng)

    def start_over(
        self,
        family: type[AbstractGaussian],
        source: AbstractSource,
        executor: AbstractExecutor,
        n_components: int,
        rng: np.random.Generator,
    ) -> Mixture:
        """The same of all rows of a table, none of which is kept. Raises DataError where fewer rows than components take part."""
        return _made(lambda function, merge: executor.map_reduce(function, merge, source), family, n_components, rng, source.feature_names)


# ---- reads -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows x (m d) with the smallest keys (m), in their order, at most `most`; the columns and the number of all rows."""

    most: int
    key: ArrayN
    x: ArrayND
    columns: Columns
    rows: int

    def merge(self, other: "Drawn") -> "Drawn":
        """Of both sets of rows."""
        key, x = np.concatenate((self.key, other.key)), np.concatenate((self.x, other.x))
        first = np.argsort(key, kind="stable")[: self.most]
        return Drawn(self.most, key[first], x[first], self.columns.merge(other.columns), self.rows + other.rows)


@dataclass(frozen=True, eq=False)
class DrawBlock:
    """The function of a read that draws: rows in proportion to weight, times squared distance from the seeds (m d) where there are any."""

    seed: int
    most: int
    columns: Columns | None = None
    seeds: ArrayND | None = None

    def __call__(self, block: Block) -> Drawn:
        """The rows of one block with the smallest keys."""
        x, weight = rows_of(block, 0, None)
        chance = weight
        if self.columns is not None and self.seeds is not None:
            z = (x - self.columns.mean) / self.columns.scale
            chance = weight * ((z - self.seeds[_nearest(z, self.seeds)]) ** 2).sum(axis=1)
        with np.errstate(divide="ignore"):
            key = -np.log(_uniform(block, self.seed)) / chance  # infinite for a row that is a seed: never drawn
        first = np.argsort(key, kind="stable")[: self.most]
        first = first[np.isfinite(key[first])]
        columns = Columns.of(x, weight) if self.columns is None else self.columns
        return Drawn(self.most, key[first], x[first], columns, len(x))


@dataclass(frozen=True, eq=False)
class CountBlock:
    """The function of the last read: moments of the standardised rows nearest to each seed."""

    columns: Columns
    seeds: ArrayND

    def __call__(self, block: Block) -> GaussianMoments:
        """Those of one block."""
        x, weight = rows_of(block, 0, None)
        z = (x - self.columns.mean) / self.columns.scale
        label = _nearest(z, self.seeds)
        order = np.argsort(label, kind="stable")
        edges = np.searchsorted(label[order], np.arange(len(self.seeds) + 1))
        m, d = self.seeds.shape
        moments = GaussianMoments(self.seeds, np.zeros(m), np.zeros((m, d)), np.zeros((m, packed_size(d))))
        for seed in np.flatnonzero(np.diff(edges)):
            rows = order[edges[seed] : edges[seed + 1]]
            w, e = weight[rows], z[rows] - self.seeds[seed]
            moments.n[seed], moments.first[seed] = w.sum(), np.einsum("n,ni->i", w, e)
            moments.second[seed] = pack(np.einsum("ni,nj->ij", e * w[:, None], e)[None])[0]
        return moments


def _merge_drawn(a: Drawn, b: Drawn) -> Drawn:
    return a.merge(b)


def _merge_moments(a: GaussianMoments, b: GaussianMoments) -> GaussianMoments:
    return a.merge(b)


def _uniform(block: Block, seed: int) -> ArrayN:
    """A number in (0, 1) for each row that takes part, from its place in the table alone."""
    at = np.arange(block.n_rows) if block.kept is None else block.kept
    if block.sample_weight is not None:
        at = at[block.sample_weight > 0]
    place = mixed(np.array([block.index])) + at.astype(np.uint64)
    top = mixed(mixed(place) ^ np.uint64(seed)) >> np.uint64(11)
    return np.asarray(top * 2.0**-53 + 2.0**-54, np.float64)


def _nearest(z: ArrayND, seeds: ArrayND) -> npt.NDArray[np.int32]:
    """Number of the nearest seed for every row: the component of largest density where all are alike."""
    alike = GaussianTiedSpherical(seeds, np.array(1.0))
    return alike.evaluate(np.ascontiguousarray(z), np.full(len(seeds), -np.log(len(seeds))), "labels")[1]


# ---- seeds, groups, mixture --------------------------------------------------------------------------------------------------


def _made(look: Look, family: type[AbstractGaussian], k: int, rng: np.random.Generator, names: tuple[str, ...] = ()) -> Mixture:
    """names: of columns that nobody has looked at yet."""
    rounds = rng.integers(2**63, size=ROUNDS + 1)
    first: Drawn | None = look(DrawBlock(int(rounds[0]), k), _merge_drawn)
    if first is None or first.rows < k:
        raise DataError(f"{0 if first is None else first.rows} rows take part, n_components={k} needs as many at least")
    if names:
        refuse_underflow(first.columns.low, first.columns.high, names)
    columns, spare = first.columns, (first.x - first.columns.mean) / first.columns.scale
    seeds = spare[:1]
    for seed in rounds[1:]:
        found: Drawn = look(DrawBlock(int(seed), OVERSAMPLING * k, columns, seeds), _merge_drawn)
        seeds = np.concatenate((seeds, (found.x - columns.mean) / columns.scale))
    moments: GaussianMoments = look(CountBlock(columns, seeds), _merge_moments)
    per_weight = first.rows / float(moments.n.sum())
    groups = _groups(moments, k, int(rng.integers(2**31)))
    return _mixture(family, columns, moments, groups, spare, per_weight)


def _groups(moments: GaussianMoments, k: int, seed: int) -> npt.NDArray[Any]:
    """The group of every seed."""
    points = moments.centre + moments.first / np.maximum(moments.n, np.finfo(np.float64).tiny)[:, None]
    if len(points) <= k:
        return np.arange(len(points))
    with threadpool_limits(1), warnings.catch_warnings():  # the same bits whatever the number of threads
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than groups: some stay empty
        model = sklearn.cluster.KMeans(k, n_init=TRIES, random_state=seed)
        return np.asarray(model.fit(points, sample_weight=moments.n / moments.n.sum()).labels_)


def _mixture(
    family: type[AbstractGaussian],
    columns: Columns,
    moments: GaussianMoments,
    groups: npt.NDArray[Any],
    spare: ArrayND,
    per_weight: float,
) -> Mixture:
    """One component for each group; an empty one begins at a row of its own, as wide as the table."""
    k, d = spare.shape
    weights, means, covariances = np.full(k, 0.5 / per_weight), spare.copy(), np.broadcast_to(np.eye(d), (k, d, d)).copy()
    for group in range(k):
        mine = groups == group
        total = float(moments.n[mine].sum())
        if total > 0:
            weights[group] = total
            means[group], covariance = _union(moments, mine, total)
            covariances[group] = shrunk(covariance, total * per_weight)
    return mixture_of_groups(family, columns.mean, columns.scale, weights, means, covariances)


def _union(moments: GaussianMoments, mine: npt.NDArray[np.bool_], total: float) -> tuple[ArrayD, FloatArray]:
    """Mean and covariance of the rows of several seeds."""
    n, first = moments.n[mine], moments.first[mine]
    mean = (n @ moments.centre[mine] + first.sum(axis=0)) / total
    e = moments.centre[mine] - mean
    second = unpack_symmetric(moments.second[mine], len(mean)).sum(axis=0)
    cross = np.einsum("mi,mj->ij", first, e)
    covariance: FloatArray = (second + cross + cross.T + np.einsum("m,mi,mj->ij", n, e, e)) / total
    return np.asarray(mean, np.float64), covariance
