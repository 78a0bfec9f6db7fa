"""One measurement: a peer fits a few passes and then n more; the difference is n passes and nothing else.

Start-up, checks of the rows and what a library does after its last pass cancel. A small fit before lets it load and compile. The
parameters after the few passes are what the judge compares: their number is the same for every peer, n need not be.
"""

__all__ = ["main"]

import argparse
import importlib
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.base import Peer
from benchmarks.processes import tree_peak_bytes, tree_processor_seconds
from benchmarks.standard import Parameters, load_parameters, save_parameters

FAST_PASSES = 300  # at most
SLOW_SECONDS = 8.0  # of a pass; a faster one is done twice at least


def timed_fit(peer: Peer, rows: Any, start: Parameters, n_passes: int, n_threads: int) -> tuple[float, float, Parameters]:
    """Seconds by the clock, seconds of processor time of all threads (neighbours on the machine change them less), parameters."""
    worked, began = tree_processor_seconds(), time.perf_counter()  # looking at processes takes time: outside the clock
    parameters = peer.fit(rows, start, n_passes, n_threads)
    return time.perf_counter() - began, tree_processor_seconds() - worked, parameters


def passes_within(seconds: float, seconds_of_pass: float) -> int:
    """How many more passes make a measurement of about so many seconds."""
    fewest = 1 if seconds_of_pass > SLOW_SECONDS else 2
    return min(max(math.ceil(seconds / seconds_of_pass), fewest), FAST_PASSES)


def measure(peer: Peer, given: argparse.Namespace) -> dict[str, Any]:
    """What is printed; the parameters are written."""
    rows, start = np.load(given.rows), load_parameters(given.start)
    rows_type, covariance_type = str(rows.dtype), "diag" if start.covariances.ndim == 2 else "full"
    if reason := peer.supports(covariance_type, rows_type):
        return {"refused": reason}
    peer.fit(peer.prepare(rows[: given.warm_rows], given.threads), start, peer.WARM_PASSES, given.threads)
    prepared = peer.prepare(rows, given.threads)
    few, few_worked, parameters = timed_fit(peer, prepared, start, given.judged_passes, given.threads)
    save_parameters(given.out, parameters)
    n = given.passes or passes_within(given.seconds, few / given.judged_passes)
    more, more_worked, _ = timed_fit(peer, prepared, start, given.judged_passes + n, given.threads)
    if not given.passes and more - few < given.seconds / 2:  # the few were mostly start-up
        n = passes_within(given.seconds, max(more - few, given.seconds / 16) / n)
        more, more_worked, _ = timed_fit(peer, prepared, start, given.judged_passes + n, given.threads)
    if more <= few:
        return {"refused": f"{n} more passes took no more time ({few:.2f} s, {more:.2f} s): too few rows or passes to measure"}
    return {
        "title": peer.TITLE,
        "version": peer.version(),
        "own_start": peer.OWN_START,
        "arithmetic": peer.arithmetic(rows_type),
        "passes": n,
        "seconds_per_pass": (more - few) / n,
        "processor_seconds_per_pass": (more_worked - few_worked) / n,
        "seconds_of_few": few,
        "seconds_of_more": more,
        "peak_bytes": tree_peak_bytes(),
    }


def main() -> None:
    """Print the measurement as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", help="name of a file in benchmarks/peers, without _peer.py")
    parser.add_argument("rows", type=Path, help="the table (.npy)")
    parser.add_argument("start", type=Path, help="parameters to start from (.npz)")
    parser.add_argument("out", type=Path, help="where the parameters found go (.npz)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--judged-passes", type=int, default=2)
    parser.add_argument("--passes", type=int, default=0, help="how many more; 0: as many as fill --seconds")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-rows", type=int, default=8192)
    given = parser.parse_args()
    peer: Peer = importlib.import_module(f"benchmarks.peers.{given.peer}_peer")  # type: ignore[assignment]
    print(json.dumps(measure(peer, given)))


if __name__ == "__main__":
    main()
