"""Peer: streamgmm itself, through its estimator."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import streamgmm
from benchmarks.peers.base import Array, Parameters

TITLE = "streamgmm"


def version() -> str:
    """streamgmm's."""
    return str(streamgmm.__version__)


def fit(rows: Array, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
    """See base.Peer."""
    model = streamgmm.GaussianMixture(
        len(start.weights),
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        tol=0.0,
        reg_covar=0.0,
        max_iter=n_passes,
        executor=streamgmm.executors.Threads(n_threads),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    return Parameters(model.weights_, model.means_, model.covariances_)
