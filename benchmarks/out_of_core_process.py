"""One measurement in a fresh process: E-steps over rows in memory or in a Zarr store, or the store's rows read and decoded only.

    python -m benchmarks.out_of_core_process memory rows.npy 16 5 2       K = 16, 5 passes, 2 threads
    python -m benchmarks.out_of_core_process store table.zarr 16 5 2
    python -m benchmarks.out_of_core_process read table.zarr 16 5 2

All three run the same executor over the same blocks; the mixture is the standard one. Prints one line of JSON.
"""

__all__ = ["main"]

import argparse
import json
from typing import Any

import numpy as np

import streamgmm as sg
from benchmarks.processes import peak_bytes
from benchmarks.standard import standard_mixture
from benchmarks.timed import Timed, add, count_rows, mixture_of, time_passes
from streamgmm.executors.threads import Threads
from streamgmm.sources import as_source
from streamgmm.sources.base import AbstractSource


def read_passes(source: AbstractSource, n_threads: int, n_passes: int) -> dict[str, Any]:
    """The floor: the same blocks through the same executor, counted."""
    timed = Timed(Threads(n_threads))
    rows = [timed.map_reduce(count_rows, add, source) for _ in range(1 + n_passes)]
    return {**timed.summary(), "rows": rows[-1], "log_likelihood": None}


def main() -> None:
    """Print the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["memory", "store", "read"])
    parser.add_argument("table")
    parser.add_argument("n_components", type=int)
    parser.add_argument("n_passes", type=int)
    parser.add_argument("n_threads", type=int)
    given = parser.parse_args()
    source = as_source(np.load(given.table)) if given.verb == "memory" else sg.open_source(given.table)
    if given.verb == "read":
        found = read_passes(source, given.n_threads, given.n_passes)
    else:
        mixture = mixture_of(standard_mixture(given.n_components, source.n_features, 0))
        found = time_passes(Threads(given.n_threads), source, mixture, given.n_passes)
    print(json.dumps({**found, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
