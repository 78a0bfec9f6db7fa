"""Peer: sklearn.mixture.GaussianMixture, the field's usual one. It computes in the type of the rows."""

import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from benchmarks.peers.base import Array, Parameters

TITLE = "scikit-learn"
OWN_START = False
WARM_PASSES = 1


def version() -> str:
    """scikit-learn's."""
    return str(sklearn.__version__)


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
    """See base.Peer. Its threads are those of BLAS, set in the environment."""
    diagonal = start.covariances.ndim == 2
    precisions = 1 / start.covariances if diagonal else np.linalg.inv(start.covariances)
    model = GaussianMixture(
        len(start.weights),
        covariance_type="diag" if diagonal else "full",
        weights_init=start.weights.astype(rows.dtype),
        means_init=start.means.astype(rows.dtype),
        precisions_init=precisions.astype(rows.dtype),
        tol=0.0,
        reg_covar=0.0,
        max_iter=n_passes,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    if model.n_iter_ != n_passes:
        raise RuntimeError(f"{model.n_iter_} passes were made instead of {n_passes}")
    return Parameters(model.weights_, model.means_, model.covariances_)
