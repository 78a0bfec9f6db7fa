"""One measurement: a peer fits 1 pass and then 1 + n passes; the difference is n passes and nothing else.

Start-up, checks of the rows and what a library does after its last pass cancel. A small fit before lets it load and compile.
"""

__all__ = ["main"]

import argparse
import importlib
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.peers.base import Peer
from benchmarks.processes import peak_bytes
from benchmarks.standard import Array, Parameters, load_parameters, save_parameters

WARM_ROWS = 8192


def timed_fit(peer: Peer, rows: Array, start: Parameters, n_passes: int, n_threads: int) -> tuple[float, float, Parameters]:
    """Seconds by the clock, seconds of processor time of all threads (neighbours on the machine change them less), parameters."""
    began, worked = time.perf_counter(), time.process_time()
    parameters = peer.fit(rows, start, n_passes, n_threads)
    return time.perf_counter() - began, time.process_time() - worked, parameters


def main() -> None:
    """Print the measurement as one line of JSON; write the parameters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", help="name of a file in benchmarks/peers, without _peer.py")
    parser.add_argument("folder", type=Path, help="holds rows.npy and start-K.npz")
    parser.add_argument("n_components", type=int)
    parser.add_argument("n_passes", type=int)
    parser.add_argument("n_threads", type=int)
    parser.add_argument("out", type=Path, help="where the parameters go (.npz)")
    given = parser.parse_args()
    peer: Peer = importlib.import_module(f"benchmarks.peers.{given.peer}_peer")  # type: ignore[assignment]
    rows, start = np.load(given.folder / "rows.npy"), load_parameters(given.folder / f"start-{given.n_components}.npz")
    peer.fit(rows[:WARM_ROWS], start, 1, given.n_threads)
    one, one_worked, _ = timed_fit(peer, rows, start, 1, given.n_threads)
    more, more_worked, parameters = timed_fit(peer, rows, start, 1 + given.n_passes, given.n_threads)
    save_parameters(given.out, parameters)
    answer = {
        "title": peer.TITLE,
        "version": peer.version(),
        "seconds_per_pass": (more - one) / given.n_passes,
        "processor_seconds_per_pass": (more_worked - one_worked) / given.n_passes,
        "seconds_of_one": one,
        "seconds_of_all": more,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
