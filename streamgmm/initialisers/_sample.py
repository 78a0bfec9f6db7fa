"""A seeded sample of rows, spread over the whole table, and the mixture that labels of its rows stand for. Floor 5."""

__all__ = [
    "SAMPLE_ROWS",
    "Sample",
    "draw_sample",
    "mixture_of_groups",
    "mixture_of_labels",
    "nearest_seed",
    "refuse_underflow",
    "rows_of",
    "shrunk",
]

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from streamgmm.arrays import ArrayD, ArrayK, ArrayN, ArrayND, FloatArray
from streamgmm.block import Block
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.errors import DataError, NumericalError
from streamgmm.mixture import Mixture
from streamgmm.sources.base import AbstractSource
from streamgmm.weights.free import FreeWeights

SAMPLE_ROWS = 100_000
SAMPLE_BLOCKS = 256  # a table of more blocks gives rows of one random block in each of so many equal stretches
RIDGE = 1e-6  # of a column's variance: keeps the start of a component with few rows invertible
SMALLEST_SPREAD = 1e-153  # the square of a smaller number leaves float64


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows x (n d); weight (n): the row's own weight times the rows it stands for. complete: these are all rows of the table."""

    x: ArrayND
    weight: ArrayN
    complete: bool

    @cached_property
    def block(self) -> Block:
        """The rows as the E-step takes them."""
        return Block(0, 0, np.ascontiguousarray(self.x), self.weight)

    @cached_property
    def mean(self) -> ArrayD:
        """Column means (d)."""
        return np.average(self.x, axis=0, weights=self.weight)

    @cached_property
    def scale(self) -> ArrayD:
        """Column standard deviations (d); 1 for a constant column."""
        spread = np.sqrt(np.average((self.x - self.mean) ** 2, axis=0, weights=self.weight))
        return np.where(spread > 8 * np.finfo(np.float64).eps * np.abs(self.mean), spread, 1.0)

    @cached_property
    def z(self) -> ArrayND:
        """Standardised rows (n d): no unit decides which rows are near."""
        return np.ascontiguousarray((self.x - self.mean) / self.scale)


def draw_sample(source: AbstractSource, seed: int, n_rows: int = SAMPLE_ROWS) -> Sample:
    """About `n_rows` rows from up to 256 blocks spread over the table; all rows where the table has no more.

    Every block draws from a generator of its own, seeded by `seed` and the block's number: the sample does not depend on who
    reads what when. Raises DataError where no row takes part.
    """
    everything = source.n_rows is not None and source.n_rows <= n_rows
    chosen = list(range(source.n_blocks or 0)) if everything else _chosen_blocks(source, seed)
    share = -(-n_rows // len(chosen)) if chosen else 0
    parts = [rows_of(block, seed, None if everything else share) for block in _read_all(source, chosen)]
    parts = [part for part in parts if len(part[0])]
    if not parts:
        raise DataError(
            f"no row takes part: every row of the sample was left out (missing={source.missing!r}) or has zero weight. Choose columns that"
            " hold values."
        )
    x, weight = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    refuse_underflow(x.min(axis=0), x.max(axis=0), source.feature_names)
    return Sample(x, weight, everything)


def _chosen_blocks(source: AbstractSource, seed: int) -> list[int]:
    n = source.n_blocks
    if n is None:
        raise DataError("an iterator of arrays has no second look for a start; give the start's parameters, or store the rows first")
    if n <= SAMPLE_BLOCKS:
        return list(range(n))
    edges = np.linspace(0, n, SAMPLE_BLOCKS + 1).astype(int)
    rng = np.random.default_rng([seed, n])
    return [int(rng.integers(first, last)) for first, last in pairwise(edges)]


def _read_all(source: AbstractSource, chosen: list[int]) -> Iterator[Block]:
    with ThreadPoolExecutor(1, "streamgmm-read") as reader:
        window: deque[Future[Block]] = deque()
        for index in chosen:
            window.append(reader.submit(source.read, index))
            if len(window) > 2:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()


def rows_of(block: Block, seed: int, share: int | None) -> tuple[ArrayND, ArrayN]:
    """Rows of one block and the weight each stands for; rows of weight 0 never."""
    weight = np.ones(block.n_rows) if block.sample_weight is None else block.sample_weight
    rows = np.flatnonzero(weight > 0)
    if share is None or len(rows) <= share:
        return block.x[rows], weight[rows]
    drawn = np.sort(np.random.default_rng([seed, block.index]).choice(rows, share, replace=False))
    return block.x[drawn], weight[drawn] * (len(rows) / share)


def refuse_underflow(low: ArrayD, high: ArrayD, feature_names: tuple[str, ...]) -> None:
    """Raises NumericalError for a column of which smallest and largest value are too near for float64 to hold the square."""
    for j in np.flatnonzero((high > low) & (high - low < SMALLEST_SPREAD)):
        raise NumericalError(
            f"column {feature_names[j]!r} ranges from {low[j]:.3g} to {high[j]:.3g}: squares of such differences"
            " underflow float64. Rescale the column."
        )


def mixture_of_labels(family: type[AbstractGaussian], sample: Sample, labels: npt.NDArray[Any], n_components: int) -> Mixture:
    """The mixture whose components are the labelled groups: their shares, means and covariances.

    Covariances are shrunk to their spherical part by D/(n_k + D), so that a group of few rows is no needle.
    """
    d = sample.x.shape[1]
    shares, means, covariances = np.empty(n_components), np.empty((n_components, d)), np.empty((n_components, d, d))
    with threadpool_limits(1):  # the same bits whatever the number of threads
        for k in range(n_components):
            rows = labels == k
            if rows.any():
                shares[k], means[k], covariances[k] = _group(sample.z[rows], sample.weight[rows])
            else:  # a row of its own, as wide as the table: two empty groups in one place would stay together for ever
                shares[k], means[k], covariances[k] = sample.weight.min(), sample.z[k * len(sample.z) // n_components], np.eye(d)
    return mixture_of_groups(family, sample.mean, sample.scale, shares, means, covariances)


def _group(z: ArrayND, weight: ArrayN) -> tuple[float, ArrayD, FloatArray]:
    mean = np.average(z, axis=0, weights=weight)
    difference = z - mean
    covariance = (difference * weight[:, None]).T @ difference / weight.sum()
    return float(weight.sum()), mean, shrunk(covariance, len(z))


def shrunk(covariance: FloatArray, n: float) -> FloatArray:
    """The covariance (D D) of n standardised rows on the way to its spherical part, and never singular."""
    d = len(covariance)
    shrink = d / (n + d)
    spherical = np.trace(covariance) / d * np.eye(d)
    result: FloatArray = (1 - shrink) * covariance + shrink * spherical + RIDGE * np.eye(d)
    return result


def mixture_of_groups(
    family: type[AbstractGaussian], mean: ArrayD, scale: ArrayD, weights: ArrayK, means: FloatArray, covariances: FloatArray
) -> Mixture:
    """Of groups of standardised rows: their weights (K), means (K D) and covariances (K D D). mean, scale: of the columns."""
    shares = weights / weights.sum()
    components = family.from_dense(mean + means * scale, covariances * scale * scale[:, None], shares)
    return Mixture(components, FreeWeights(shares))


def nearest_seed(z: ArrayND, seeds: ArrayND) -> npt.NDArray[np.intp]:
    """Number of the nearest seed (K d) for every row z (n d)."""
    best, label = np.full(len(z), np.inf), np.zeros(len(z), np.intp)
    for k, seed in enumerate(seeds):
        distance: ArrayK = ((z - seed) ** 2).sum(axis=1)
        nearer = distance < best
        best[nearer], label[nearer] = distance[nearer], k
    return label
