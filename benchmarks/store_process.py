"""One measurement in a fresh process: fit a column store through the public interface, or only read and decode it.

    python -m benchmarks.store_process fit STORE 16 3 2        K = 16, 3 passes, 2 threads
    python -m benchmarks.store_process read STORE 16 3 2       the same reads without any computing

Prints one line of JSON.
"""

__all__ = ["main"]

import argparse
import json
import time
import warnings
from typing import Any

from sklearn.exceptions import ConvergenceWarning

import streamgmm as sg
from benchmarks.processes import peak_bytes
from streamgmm.block import Block


def count_rows(block: Block) -> int:
    """What `read` maps over the blocks."""
    return block.n_rows


def add(a: int, b: int) -> int:
    """What `read` merges by."""
    return a + b


def fit(source: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds, and what was found."""
    model = sg.GaussianMixture(
        given.n_components, tol=0.0, max_iter=given.n_passes, random_state=0, executor=sg.executors.Threads(given.n_threads)
    )
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(source)
    return {"seconds": time.perf_counter() - began, "log_likelihood": model.lower_bound_, "passes": model.n_iter_}


def read(source: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one pass of reading."""
    began = time.perf_counter()
    rows = sg.executors.Threads(given.n_threads).map_reduce(count_rows, add, source)
    return {"seconds": time.perf_counter() - began, "rows_read": rows}


def main() -> None:
    """Print the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["fit", "read"])
    parser.add_argument("store")
    parser.add_argument("n_components", type=int)
    parser.add_argument("n_passes", type=int)
    parser.add_argument("n_threads", type=int)
    given = parser.parse_args()
    source = sg.open_source(given.store)
    before = peak_bytes()
    found = (fit if given.verb == "fit" else read)(source, given)
    print(json.dumps({**found, "rows": source.n_rows, "peak_bytes_before": before, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
