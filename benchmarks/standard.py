"""The standard problem of the benchmarks: rows drawn from a mixture, and where every peer starts.

K means from N(0, 2^2 I), covariances A A^T + 0.3 I with the entries of A from N(0, 0.4^2), weights from Dirichlet(5, ..., 5).

The start is the same for everybody: the mixture that the rows were drawn from, because a fit spends nearly all its passes near its
solution (`true_start`); or K of the rows as means, the covariance of all rows for every component, equal weights (`rows_start`): there
every component is felt by every row, and nobody gains by leaving out components far away.

It imports NumPy only, because it also runs inside the peers' own environments.
"""

__all__ = [
    "BLOCK_ROWS",
    "Parameters",
    "draw_block",
    "load_parameters",
    "rows_start",
    "save_parameters",
    "standard_mixture",
    "standard_rows",
    "true_start",
]

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK_ROWS = 65_536

Array = npt.NDArray[np.float64]


class Parameters(NamedTuple):
    """weights (K), means (K D), covariances of a mixture: (K D D) if full, (K D) if diagonal."""

    weights: Array
    means: Array
    covariances: Array


def standard_mixture(n_components: int, n_features: int, seed: int) -> Parameters:
    """The mixture that rows are drawn from."""
    rng = np.random.default_rng(seed)
    means = rng.normal(scale=2.0, size=(n_components, n_features))
    a = rng.normal(scale=0.4, size=(n_components, n_features, n_features))
    covariances = a @ a.transpose(0, 2, 1) + 0.3 * np.eye(n_features)
    return Parameters(rng.dirichlet(np.full(n_components, 5.0)), means, covariances)


def draw_block(mixture: Parameters, n_rows: int, seed: int, index: int) -> Array:
    """Rows (n d) of block `index`, from a generator of its own: any block can be drawn alone."""
    rng = np.random.default_rng([seed, index])
    labels = rng.choice(len(mixture.weights), n_rows, p=mixture.weights)
    noise = rng.standard_normal((n_rows, mixture.means.shape[1]))
    rows = np.empty_like(noise)
    for k, factor in enumerate(np.linalg.cholesky(mixture.covariances)):
        mine = labels == k
        rows[mine] = mixture.means[k] + noise[mine] @ factor.T
    return rows


def standard_rows(mixture: Parameters, n_rows: int, seed: int) -> Array:
    """Rows (n d) in memory, block after block."""
    starts = range(0, n_rows, BLOCK_ROWS)
    return np.concatenate([draw_block(mixture, min(BLOCK_ROWS, n_rows - start), seed, i) for i, start in enumerate(starts)])


def true_start(mixture: Parameters, covariance_type: str) -> Parameters:
    """The generating mixture; for diagonal covariances, the diagonals of its own."""
    return _of_type(mixture, covariance_type)


def rows_start(rows: Array, n_components: int, covariance_type: str, seed: int) -> Parameters:
    """K rows, and the covariance of all of them."""
    chosen = np.random.default_rng([seed, n_components]).choice(len(rows), n_components, replace=False)
    covariance = np.cov(rows, rowvar=False)
    weights = np.full(n_components, 1 / n_components)
    return _of_type(Parameters(weights, rows[chosen], np.repeat(covariance[None], n_components, axis=0)), covariance_type)


def _of_type(mixture: Parameters, covariance_type: str) -> Parameters:
    if covariance_type == "diag":
        return mixture._replace(covariances=np.ascontiguousarray(np.diagonal(mixture.covariances, axis1=1, axis2=2)))
    return mixture


def save_parameters(path: Path, parameters: Parameters) -> None:
    """As an .npz file."""
    np.savez(path, **parameters._asdict())


def load_parameters(path: Path) -> Parameters:
    """From an .npz file."""
    with np.load(path) as file:
        return Parameters(**{name: file[name] for name in Parameters._fields})
