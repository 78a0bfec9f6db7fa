"""Peer: the fastest exact pass we know how to write in NumPy, two matrix products for each chunk of rows.

A log density is linear in f(x) = (1, x_i, x_i x_j for i <= j), for diagonal covariances in (1, x_i, x_i^2), and so are the moments:
the E-step is F @ theta, the M-step R^T @ F. Chunks stay in cache, every thread takes its own stretch of rows, BLAS runs on one thread
in each. It computes in the type of the rows; sums over chunks are float64. Expanding the square loses digits where the mean is far
from zero in units of the scatter (the benchmark's rows are not): fast, not for use on real columns.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.peers.base import Array, Parameters

TITLE = "NumPy, two GEMMs"
OWN_START = False
WARM_PASSES = 1

SCRATCH_VALUES = 65_536  # values of the chunk's (n K) matrix: half a megabyte, in the second-level cache


def version() -> str:
    """NumPy's."""
    return np.__version__


def supports(covariance_type: str, rows_type: str) -> str:
    """Everything."""
    return ""


def arithmetic(rows_type: str) -> str:
    """That of the rows."""
    return rows_type


def prepare(rows: Array, n_threads: int) -> Array:
    """As they are."""
    return rows


def fit(rows: Array, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
    """See base.Peer."""
    mixture, d, diagonal = start, rows.shape[1], start.covariances.ndim == 2
    pairs = (np.arange(d), np.arange(d)) if diagonal else np.triu_indices(d)
    bounds = np.linspace(0, len(rows), n_threads + 1).astype(int)
    stretches = [rows[first:last] for first, last in pairwise(bounds)]
    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as pool:
        for _ in range(n_passes):
            theta = _theta(mixture, pairs).astype(rows.dtype)
            parts = list(pool.map(_moments, stretches, repeat(theta), repeat(diagonal)))
            mixture = _maximise(np.sum(parts, axis=0), d, pairs, diagonal)
    return mixture


def _theta(mixture: Parameters, pairs: tuple[Any, Any]) -> Array:
    """Coefficients (F K) of the log joint densities."""
    (k, d), (i, j) = mixture.means.shape, pairs
    diagonal = mixture.covariances.ndim == 2
    covariances = mixture.covariances[:, :, None] * np.eye(d) if diagonal else mixture.covariances
    precision = np.linalg.inv(covariances)
    linear = np.einsum("kij,kj->ki", precision, mixture.means)
    constant = np.log(mixture.weights) - 0.5 * (d * np.log(2 * np.pi) + np.linalg.slogdet(covariances)[1])
    theta = np.empty((1 + d + len(i), k))
    theta[0] = constant - 0.5 * np.einsum("ki,ki->k", linear, mixture.means)
    theta[1 : 1 + d] = linear.T
    theta[1 + d :] = (np.where(i == j, -0.5, -1.0) * precision[:, i, j]).T
    return theta


def _moments(rows: Array, theta: Array, diagonal: bool) -> Array:
    """Sums (K F) of responsibility times f(x) over rows."""
    n_features, n_components = theta.shape
    chunk_rows = max(SCRATCH_VALUES // n_components, 256)
    features, joint = np.empty((n_features, chunk_rows), rows.dtype), np.empty((n_components, chunk_rows), rows.dtype)
    moments = np.zeros((n_components, n_features))
    for start in range(0, len(rows), chunk_rows):
        x = rows[start : start + chunk_rows].T
        f, r = features[:, : x.shape[1]], joint[:, : x.shape[1]]
        _expand(x, f, diagonal)
        np.matmul(theta.T, f, out=r)
        r -= r.max(axis=0)
        np.exp(r, out=r)
        r /= r.sum(axis=0)
        moments += r @ f.T
    return moments


def _expand(x: Array, f: Array, diagonal: bool) -> None:
    d = len(x)
    f[0] = 1.0
    f[1 : 1 + d] = x
    if diagonal:
        np.multiply(x, x, out=f[1 + d :])
        return
    first = 1 + d
    for i in range(d):
        np.multiply(f[1 + i], f[1 + i : 1 + d], out=f[first : first + d - i])
        first += d - i


def _maximise(moments: Array, d: int, pairs: tuple[Any, Any], diagonal: bool) -> Parameters:
    i, j = pairs
    counts = moments[:, 0]
    means = moments[:, 1 : 1 + d] / counts[:, None]
    squares = moments[:, 1 + d :] / counts[:, None]
    if diagonal:
        return Parameters(counts / counts.sum(), means, squares - means * means)
    second = np.empty((len(counts), d, d))
    second[:, i, j] = second[:, j, i] = squares
    return Parameters(counts / counts.sum(), means, second - means[:, :, None] * means[:, None, :])
