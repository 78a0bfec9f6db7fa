"""The judge of the benchmarks: plain NumPy in float64, shared with no peer; slow and straightforward on purpose.

It computes the log-likelihood of a mixture over rows, and passes of EM of its own: what every peer should have found. Second moments
are taken about the new means, in a second reading of the rows. Covariances should be well conditioned, as those of the benchmarks are.
"""

__all__ = ["exact_passes", "felt_share", "largest_difference", "log_likelihood"]

import math
from collections.abc import Iterator

import numpy as np

from benchmarks.standard import Array, Parameters

CHUNK_ROWS = 65_536
CUT = -37.0  # e^-37 is less than half a unit in the last place of 1


def log_likelihood(rows: Array, mixture: Parameters) -> float:
    """Sum over rows of log sum_k w_k N(row; m_k, V_k)."""
    return math.fsum(float(value) for chunk in _chunks(rows) for value in _log_sums(_joint(chunk, mixture)))


def exact_passes(rows: Array, start: Parameters, n_passes: int) -> Parameters:
    """The parameters after so many passes of EM."""
    mixture = start
    for _ in range(n_passes):
        mixture = _one_pass(rows, mixture)
    return mixture


def felt_share(rows: Array, mixture: Parameters) -> float:
    """The part of the responsibilities that are more than e^-37 of the largest of their row."""
    joint = _joint(rows, mixture)
    return float(np.mean(joint - joint.max(axis=0) > CUT))


def largest_difference(found: Parameters, expected: Parameters) -> float:
    """Of any parameter: of weights in parts of themselves, of means in standard deviations, of covariances in those of both columns."""
    diagonal = expected.covariances.ndim == 2
    variances = expected.covariances if diagonal else np.diagonal(expected.covariances, axis1=1, axis2=2)
    deviations = np.sqrt(variances)
    scale = variances if diagonal else deviations[:, :, None] * deviations[:, None, :]
    differences = (
        (found.weights - expected.weights) / expected.weights,
        (found.means - expected.means) / deviations,
        (found.covariances - expected.covariances) / scale,
    )
    return max(float(np.abs(difference).max()) for difference in differences)


def _chunks(rows: Array) -> Iterator[Array]:
    return (rows[start : start + CHUNK_ROWS].astype(np.float64) for start in range(0, len(rows), CHUNK_ROWS))


def _one_pass(rows: Array, mixture: Parameters) -> Parameters:
    counts, sums = np.zeros_like(mixture.weights), np.zeros_like(mixture.means)
    for chunk in _chunks(rows):
        r = _responsibilities(chunk, mixture)
        counts += r.sum(axis=1)
        sums += r @ chunk
    means = sums / counts[:, None]
    scatter = np.zeros_like(mixture.covariances)
    for chunk in _chunks(rows):
        for k, r in enumerate(_responsibilities(chunk, mixture)):
            x = chunk - means[k]
            scatter[k] += r @ (x * x) if scatter.ndim == 2 else (r[:, None] * x).T @ x
    covariances = scatter / counts.reshape(-1, *[1] * (scatter.ndim - 1))
    return Parameters(counts / counts.sum(), means, covariances)


def _responsibilities(rows: Array, mixture: Parameters) -> Array:
    joint = _joint(rows, mixture)
    return np.asarray(np.exp(joint - _log_sums(joint)))


def _log_sums(joint: Array) -> Array:
    largest = joint.max(axis=0)
    return np.asarray(largest + np.log(np.exp(joint - largest).sum(axis=0)))


def _joint(rows: Array, mixture: Parameters) -> Array:
    """log w_k N(row; m_k, V_k), (K n)."""
    joint = np.empty((len(mixture.weights), len(rows)))
    for k, covariance in enumerate(mixture.covariances):
        factor = np.diag(np.sqrt(covariance)) if covariance.ndim == 1 else np.linalg.cholesky(covariance)
        z = np.linalg.inv(factor) @ (rows - mixture.means[k]).T
        log_det = 2 * np.log(np.diagonal(factor)).sum()
        joint[k] = np.log(mixture.weights[k]) - 0.5 * (rows.shape[1] * math.log(2 * math.pi) + log_det + (z * z).sum(axis=0))
    return joint
