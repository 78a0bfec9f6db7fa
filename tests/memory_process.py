"""Run by test_memory.py in a process of its own: fit rows that exist nowhere, print the peak of memory.

python -m tests.memory_process N_ROWS N_COMPONENTS
"""

import json
import sys
from dataclasses import dataclass

import numpy as np

from benchmarks.processes import peak_bytes
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.sources.base import AbstractSource

D = 6


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnRows(AbstractSource):
    """Rows drawn when they are read, each block from a generator of its own: four well separated clusters."""

    rows: int

    @property
    def n_rows(self):
        return self.rows

    @property
    def dtype(self):
        return np.dtype(np.float64)

    def load(self, index):
        start, stop = self.span(index)
        rng = np.random.default_rng(index)
        return 8.0 * rng.integers(0, 4, (stop - start, 1)) + rng.standard_normal((stop - start, D))

    def portable_rows(self, first, last):
        return self


def main(n_rows, n_components):
    source = DrawnRows(feature_names=tuple("abcdef"), units=("",) * D, rows=n_rows)
    configuration = FitConfiguration(schedule="full_batch", n_components=n_components, init="kmeans_plus_plus", tol=0.0, max_iter=1)
    result = Job(source, configuration, Threads(2)).fit()
    sys.stdout.write(json.dumps({"rows": result.state.rows, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
