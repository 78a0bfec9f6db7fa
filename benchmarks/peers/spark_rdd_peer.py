"""Peer: the GaussianMixture of Spark's older RDD interface, which takes a start. Rows are read and cached inside the Java process.

Spark adds 2e-16 to every density: its answers differ a little.
"""

from typing import Any

import numpy as np
import pyspark  # type: ignore[import-not-found]
from pyspark.mllib.clustering import GaussianMixtureModel  # type: ignore[import-not-found]
from pyspark.mllib.common import callMLlibFunc  # type: ignore[import-not-found]
from pyspark.mllib.linalg import DenseMatrix, DenseVector  # type: ignore[import-not-found]

from benchmarks.peers._spark import session, text_file
from benchmarks.peers.base import Array, Parameters

TITLE = "Spark RDD"
OWN_START = False
WARM_PASSES = 20  # Java compiles what has been run often


def version() -> str:
    """Spark's."""
    return str(pyspark.__version__)


def supports(covariance_type: str, rows_type: str) -> str:
    """Full covariances in float64."""
    if covariance_type != "full":
        return "Spark has full covariances only"
    return "" if rows_type == "float64" else "Spark has float64 only"


def arithmetic(rows_type: str) -> str:
    """Always the same."""
    return "float64"


def prepare(rows: Array, n_threads: int) -> Any:
    """A cached JavaRDD of vectors."""
    path = text_file(rows, "[", "]")
    context = session(n_threads).sparkContext
    tools = context._jvm.org.apache.spark.mllib.util.MLUtils  # noqa: SLF001  the only way to read vectors without Python
    vectors = tools.loadVectors(context._jsc.sc(), str(path), n_threads).toJavaRDD().repartition(n_threads).cache()  # noqa: SLF001
    if vectors.count() != len(rows):
        raise RuntimeError(f"Spark read {vectors.count()} of {len(rows)} rows")
    path.unlink()
    return vectors


def fit(rows: Any, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
    """See base.Peer."""
    k, d = start.means.shape
    given = (
        [float(weight) for weight in start.weights],
        [DenseVector(mean) for mean in start.means],
        [DenseMatrix(d, d, covariance.ravel()) for covariance in start.covariances],
    )
    model = GaussianMixtureModel(callMLlibFunc("trainGaussianMixtureModel", rows, k, 0.0, n_passes, 0, *given))
    means = np.array([one.mu.toArray() for one in model.gaussians])
    return Parameters(np.array(model.weights), means, np.array([one.sigma.toArray() for one in model.gaussians]))
