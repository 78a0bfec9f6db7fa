"""What the machine gives at best, measured in the same run: matrix products in float64, and copies of arrays beyond every cache.

`python -m benchmarks.roof N` prints the answer for N threads as one line of JSON. NumPy's own BLAS does the products.
"""

__all__ = ["copy_rate", "main", "product_rate"]

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

N = 1536  # rows and columns of the product
COPIED_BYTES = 128 * 2**20
TRIES = 7


def best_seconds(work: Callable[[], object]) -> float:
    """The shortest of a few runs, after one to warm up: others use the machine as well."""
    work()
    seconds = []
    for _ in range(TRIES):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def product_rate() -> float:
    """Floating point operations per second of a matrix product; threads as the environment says."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(N, N)), rng.normal(size=(N, N))
    out = np.empty((N, N))
    return 2 * N**3 / best_seconds(lambda: np.matmul(a, b, out=out))


def copy_rate(n_threads: int) -> float:
    """Bytes per second read and written together."""
    sources = np.array_split(np.ones(COPIED_BYTES // 8), n_threads)
    targets = np.array_split(np.zeros(COPIED_BYTES // 8), n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        return 2 * COPIED_BYTES / best_seconds(lambda: list(pool.map(np.copyto, targets, sources)))


def main() -> None:
    """Print both rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_threads", type=int)
    n_threads = parser.parse_args().n_threads
    print(json.dumps({"flops": product_rate(), "copied_bytes_per_second": copy_rate(n_threads)}))


if __name__ == "__main__":
    main()
