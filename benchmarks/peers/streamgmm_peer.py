"""Peer: streamgmm itself, through its estimator. It computes in float64 whatever the rows are."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import streamgmm
from benchmarks.peers.base import Array, Parameters

TITLE = "streamgmm"
OWN_START = False
WARM_PASSES = 1


def version() -> str:
    """streamgmm's."""
    return str(streamgmm.__version__)


def supports(covariance_type: str, rows_type: str) -> str:
    """Everything."""
    return ""


def arithmetic(rows_type: str) -> str:
    """Always the same."""
    return "float64"


def prepare(rows: Array, n_threads: int) -> Array:
    """As they are."""
    return rows


def fit(rows: Array, start: Parameters, n_passes: int, n_threads: int, arithmetic: str = "float64") -> Parameters:
    """See base.Peer."""
    diagonal = start.covariances.ndim == 2
    model = streamgmm.GaussianMixture(
        len(start.weights),
        covariance_type="diag" if diagonal else "full",
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=1 / start.covariances if diagonal else np.linalg.inv(start.covariances),
        tol=0.0,
        reg_covar=0.0,
        max_iter=n_passes,
        arithmetic=arithmetic,
        executor=streamgmm.executors.Threads(n_threads),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    if model.n_iter_ != n_passes:
        raise RuntimeError(f"{model.n_iter_} passes were made instead of {n_passes}")
    return Parameters(model.weights_, model.means_, model.covariances_)
