"""Peer: Spark ML's GaussianMixture on one machine. It takes no start: timed from a start of its own, its answer is not compared.

Its cost of a pass does not depend on the parameters. The RDD interface takes a start (spark_rdd_peer.py) and is slower.
"""

import pyspark  # type: ignore[import-not-found]
from pyspark.ml.clustering import GaussianMixture  # type: ignore[import-not-found]
from pyspark.ml.feature import VectorAssembler  # type: ignore[import-not-found]
from pyspark.sql import DataFrame  # type: ignore[import-not-found]

from benchmarks.peers._spark import session, text_file
from benchmarks.peers.base import Array, Parameters

TITLE = "Spark ML"
OWN_START = True
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


def prepare(rows: Array, n_threads: int) -> DataFrame:
    """A frame of vectors whose columns are cached; `fit` caches the vectors itself, because this frame is not."""
    path = text_file(rows)
    names = [f"x{j}" for j in range(rows.shape[1])]
    schema = ", ".join(f"{name} double" for name in names)
    frame = session(n_threads).read.csv(str(path), schema=schema).repartition(n_threads).cache()
    if frame.count() != len(rows):
        raise RuntimeError(f"Spark read {frame.count()} of {len(rows)} rows")
    path.unlink()
    vectors = VectorAssembler(inputCols=names, outputCol="features").transform(frame).select("features")
    GaussianMixture(k=2, tol=0.0, maxIter=3, seed=0).fit(vectors)  # the first fit of a table takes longer
    return vectors


def fit(rows: DataFrame, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
    """See base.Peer."""
    model = GaussianMixture(k=len(start.weights), tol=0.0, maxIter=n_passes, seed=0).fit(rows)
    if model.summary.numIter != n_passes:
        raise RuntimeError(f"Spark ended after {model.summary.numIter} of {n_passes} passes because its likelihood did not change")
    return start
