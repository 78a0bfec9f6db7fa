"""The judge of the benchmarks: log-likelihood of a mixture over rows, in plain NumPy, shared with no peer.

Solves with the Cholesky factors, chunk by chunk; slow and straightforward on purpose.
"""

__all__ = ["log_likelihood"]

import math

import numpy as np

from benchmarks.standard import Array, Parameters

CHUNK_ROWS = 65_536


def log_likelihood(rows: Array, mixture: Parameters) -> float:
    """Sum over rows of log sum_k w_k N(row; m_k, V_k)."""
    chunks = (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))
    return math.fsum(float(value) for chunk in chunks for value in _row_sums(chunk, mixture))


def _row_sums(rows: Array, mixture: Parameters) -> Array:
    joint = np.empty((len(mixture.weights), len(rows)))
    for k, factor in enumerate(np.linalg.cholesky(mixture.covariances)):
        z = np.linalg.solve(factor, (rows - mixture.means[k]).T)
        log_det = 2 * np.log(np.diagonal(factor)).sum()
        joint[k] = np.log(mixture.weights[k]) - 0.5 * (rows.shape[1] * math.log(2 * math.pi) + log_det + (z * z).sum(axis=0))
    largest = joint.max(axis=0)
    return np.asarray(largest + np.log(np.exp(joint - largest).sum(axis=0)))
