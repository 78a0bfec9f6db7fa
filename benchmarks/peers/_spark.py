"""What both peers of Spark share: a local session, and the rows as a text file that Spark reads by itself."""

__all__ = ["session", "text_file"]

import os
import tempfile
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession  # type: ignore[import-not-found]

from benchmarks.peers.base import Array

MEMORY = "6g"  # of the Java process, at most


def session(n_threads: int) -> SparkSession:
    """The session with so many threads; the same one every time."""
    settings = {
        "spark.driver.memory": MEMORY,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.master(f"local[{n_threads}]").appName("streamgmm-benchmarks")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def text_file(rows: Array, before: str = "", after: str = "") -> Path:
    """A line for each row, numbers with all their digits, between two texts."""
    handle, name = tempfile.mkstemp(suffix=".csv", prefix="exact-pass-spark-")
    line = before + ",".join(["%.17g"] * rows.shape[1]) + after
    with os.fdopen(handle, "w", encoding="ascii") as file:
        np.savetxt(file, rows, fmt=line)
    return Path(name)
