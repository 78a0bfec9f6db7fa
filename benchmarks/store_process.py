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
from benchmarks.timed import Timed, add, count_rows
from streamgmm.executors.threads import Threads
from streamgmm.sources.base import AbstractSource


def fit(source: AbstractSource, executor: Timed, given: argparse.Namespace) -> dict[str, Any]:
    """What was found."""
    model = sg.GaussianMixture(given.n_components, tol=0.0, max_iter=given.n_passes, random_state=0, executor=executor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(source)
    return {"log_likelihood": model.lower_bound_, "passes": model.n_iter_}


def read(source: AbstractSource, executor: Timed, given: argparse.Namespace) -> dict[str, Any]:
    """The rows that were read."""
    rows = [executor.map_reduce(count_rows, add, source) for _ in range(given.n_passes)]
    return {"rows_read": rows[0], "passes": len(rows)}


def main() -> None:
    """Print the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["fit", "read"])
    parser.add_argument("store")
    parser.add_argument("n_components", type=int)
    parser.add_argument("n_passes", type=int)
    parser.add_argument("n_threads", type=int)
    given = parser.parse_args()
    sg.GaussianMixture()  # imports all there is to import
    source = sg.open_source(given.store)
    executor, imported = Timed(Threads(given.n_threads)), peak_bytes()
    began = time.perf_counter()
    found = (fit if given.verb == "fit" else read)(source, executor, given)
    took = {"seconds": time.perf_counter() - began, "seconds_per_pass": executor.summary()["seconds_per_pass"]}
    print(json.dumps({**found, **took, "rows": source.n_rows, "peak_bytes_of_imports": imported, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
