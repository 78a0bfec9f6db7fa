"""One measurement in a fresh process: E-steps over the first rows of a virtual table, or serving these rows only.

    python -m benchmarks.pass_process compute 1000000 64 6 3 threads 2    rows, K, D, passes, executor, threads or worker processes
    python -m benchmarks.pass_process serve 1000000 64 6 3 threads 2
    python -m benchmarks.pass_process compute 1000000 16 6 3 dask 2

Prints one line of JSON.
"""

__all__ = ["main"]

import argparse
import json
from typing import Any

from benchmarks.processes import peak_bytes
from benchmarks.standard import standard_mixture
from benchmarks.timed import Timed, add, count_rows, mixture_of, time_passes
from benchmarks.virtual_source import virtual_source
from streamgmm.commands.where import Where
from streamgmm.executors.base import AbstractExecutor
from streamgmm.sources.base import DEFAULT_BLOCK_ROWS, AbstractSource

TABLE_ROWS = 1_800_000_000


def serve(executor: AbstractExecutor, source: AbstractSource, n_passes: int) -> dict[str, Any]:
    """The same blocks through the same executor, counted."""
    timed = Timed(executor)
    rows = [timed.map_reduce(count_rows, add, source) for _ in range(n_passes)]
    return {**timed.summary(), "rows": rows[-1]}


def main() -> None:
    """Print the measurement. A pass over a few blocks comes first: it compiles and draws the pool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["compute", "serve"])
    parser.add_argument("rows", type=int)
    parser.add_argument("n_components", type=int)
    parser.add_argument("n_features", type=int)
    parser.add_argument("n_passes", type=int)
    parser.add_argument("executor", choices=["threads", "dask"])
    parser.add_argument("workers", type=int)
    given = parser.parse_args()
    table = virtual_source(max(TABLE_ROWS, given.rows), given.n_components, given.n_features)
    mixture = mixture_of(standard_mixture(given.n_components, given.n_features, 0))
    where = Where(local=given.workers) if given.executor == "dask" else Where(executor="threads", threads=given.workers)
    warm, source = table.prefix(4 * given.workers * DEFAULT_BLOCK_ROWS), table.prefix(given.rows)
    with where.open() as executor:
        time_passes(executor, warm, mixture, 0)
        source.load(0)
        if given.verb == "serve":
            found = serve(executor, source, given.n_passes)
        else:
            found = time_passes(executor, source, mixture, given.n_passes - 1)
    print(json.dumps({**found, "claimed_rows": table.n_rows, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
