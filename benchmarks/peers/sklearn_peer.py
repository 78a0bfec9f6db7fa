"""Peer: sklearn.mixture.GaussianMixture, the field's usual one."""

import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from benchmarks.peers.base import Array, Parameters

TITLE = "scikit-learn"


def version() -> str:
    """scikit-learn's."""
    return str(sklearn.__version__)


def fit(rows: Array, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
    """See base.Peer. Its threads are those of BLAS, set in the environment."""
    model = GaussianMixture(
        len(start.weights),
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        tol=0.0,
        reg_covar=0.0,
        max_iter=n_passes,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    return Parameters(model.weights_, model.means_, model.covariances_)
