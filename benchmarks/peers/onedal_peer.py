"""Peer: oneDAL's EM for Gaussian mixtures, through daal4py. It computes in the type of the rows.

It ends when the likelihood has not changed at all between two passes, which in float32 happens after a few: the fit then goes on from
where it ended until the passes are made.
"""

import daal4py  # type: ignore[import-not-found]
import numpy as np

from benchmarks.peers.base import Array, Parameters

TITLE = "oneDAL"
OWN_START = False
WARM_PASSES = 1


def version() -> str:
    """oneDAL's, not that of its Python interface: 20240700_... is 2024.7.0."""
    number = str(daal4py._get__daal_run_version__()).split("_")[0]  # noqa: SLF001  it has no other way to tell
    return f"{int(number[:4])}.{int(number[4:6])}.{int(number[6:8])}"


def supports(covariance_type: str, rows_type: str) -> str:
    """Everything."""
    return ""


def arithmetic(rows_type: str) -> str:
    """That of the rows."""
    return rows_type


def prepare(rows: Array, n_threads: int) -> Array:
    """As they are; the library's threads are started."""
    daal4py.daalinit(n_threads)
    return rows


def fit(rows: Array, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
    """See base.Peer."""
    mixture, done = start, 0
    while done < n_passes:
        mixture, more = _passes(rows, mixture, n_passes - done)
        done += more
    return mixture


def _passes(rows: Array, start: Parameters, most: int) -> tuple[Parameters, int]:
    """The parameters and the number of passes after which it ended."""
    diagonal = start.covariances.ndim == 2
    algorithm = daal4py.em_gmm(
        len(start.weights),
        fptype="float" if rows.dtype == np.float32 else "double",
        maxIterations=most,
        accuracyThreshold=0.0,
        regularizationFactor=0.0,
        covarianceStorage="diagonal" if diagonal else "full",
    )
    weights, means = start.weights[None].astype(rows.dtype), start.means.astype(rows.dtype)
    covariances = [np.ascontiguousarray(np.atleast_2d(one), dtype=rows.dtype) for one in start.covariances]
    found = algorithm.compute(rows, weights, means, covariances)
    of_all = np.stack([one[0] if diagonal else one for one in found.covariances])
    return Parameters(found.weights[0], found.means, of_all), int(found.nIterations[0, 0])
