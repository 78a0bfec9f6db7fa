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
from collections.abc import Iterator
from statistics import median
from typing import Any, TypeVar

from sklearn.exceptions import ConvergenceWarning

import streamgmm as sg
from benchmarks.processes import peak_bytes
from streamgmm.block import Block
from streamgmm.executors.base import BlockFunction, Merge
from streamgmm.executors.threads import Threads
from streamgmm.reduce import Span
from streamgmm.sources.base import AbstractSource

T = TypeVar("T")


def count_rows(block: Block) -> int:
    """What `read` maps over the blocks."""
    return block.n_rows


def add(a: int, b: int) -> int:
    """What `read` merges by."""
    return a + b


class TimedThreads(Threads):
    """Threads that note the seconds of every pass."""

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self.seconds: list[float] = []

    def map_spans(self, function: BlockFunction[T], merge: Merge[T], source: AbstractSource) -> Iterator[tuple[Span, T]]:
        """See the base class."""
        began = time.perf_counter()
        yield from super().map_spans(function, merge, source)
        self.seconds.append(time.perf_counter() - began)


def fit(source: AbstractSource, executor: TimedThreads, given: argparse.Namespace) -> dict[str, Any]:
    """What was found."""
    model = sg.GaussianMixture(given.n_components, tol=0.0, max_iter=given.n_passes, random_state=0, executor=executor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(source)
    return {"log_likelihood": model.lower_bound_, "passes": model.n_iter_}


def read(source: AbstractSource, executor: TimedThreads, given: argparse.Namespace) -> dict[str, Any]:
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
    executor, imported = TimedThreads(given.n_threads), peak_bytes()
    began = time.perf_counter()
    found = (fit if given.verb == "fit" else read)(source, executor, given)
    took = {"seconds": time.perf_counter() - began, "seconds_per_pass": median(executor.seconds)}
    print(json.dumps({**found, **took, "rows": source.n_rows, "peak_bytes_of_imports": imported, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
