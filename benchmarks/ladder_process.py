"""One ladder in a process of its own: which blocks and how many bytes every pass reads, the peak of memory, the winner.

    python -m benchmarks.ladder_process STORE 1:32 3 6 2 --all      K = 1..32, 3 starts of each, 6 passes, 2 threads

--all: no start is left behind on the sample, so that all of them enter every pass. Prints one line of JSON.
"""

__all__ = ["main"]

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import streamgmm as sg
from benchmarks.processes import peak_bytes
from streamgmm import ladder_starts
from streamgmm.events import Event
from streamgmm.executors.threads import Threads
from streamgmm.sources.base import AbstractSource


class Meter:
    """Reads of every block, and bytes of all files opened below the store's folder, from one end of a pass to the next."""

    def __init__(self, source: AbstractSource, folder: Path) -> None:
        self.blocks: Counter[int] = Counter()
        self.passes: list[dict[str, int]] = []
        self.bytes, self.below = 0, f"{folder.resolve()}{os.sep}"
        kind, load = type(source), type(source).load

        def counted(one: AbstractSource, index: int) -> Any:
            self.blocks[index] += 1
            return load(one, index)

        kind.load = counted  # type: ignore[method-assign]
        sys.addaudithook(self.hear)

    def hear(self, event: str, given: tuple[Any, ...]) -> None:
        """A file is opened: it is read whole."""
        if event == "open" and isinstance(given[0], str | os.PathLike):
            path = os.path.realpath(given[0])
            if path.startswith(self.below):
                self.bytes += Path(path).stat().st_size

    def turn(self) -> None:
        """What was read since the last turn, as a pass."""
        counts = self.blocks.values()
        read = {"blocks": len(counts), "most": max(counts, default=0), "least": min(counts, default=0)}
        self.passes.append({"bytes": self.bytes, **read})
        self.bytes = 0
        self.blocks.clear()

    def observe(self, event: Event) -> None:
        """A pass ends with its event; the first begins when the starts are there."""
        if event.kind in {"start", "pass"}:
            self.turn()
        if event.kind == "start":
            self.passes.clear()


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("k", help="such as 1:32")
    parser.add_argument("n_init", type=int)
    parser.add_argument("passes", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("--all", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Print the measurement."""
    given = options()
    if given.all:
        ladder_starts.SAME, ladder_starts.ERRORS = 0.0, np.inf
    sg.GaussianMixture()  # imports all there is to import
    source = sg.open_source(given.store)
    meter, imported, began = Meter(source, Path(given.store)), peak_bytes(), time.perf_counter()
    limits = {"n_init": given.n_init, "max_iter": given.passes, "tol": 0.0 if given.all else 0.1}
    found = sg.select(source, given.k, executor=Threads(given.threads), observe=meter.observe, **limits)
    seconds = time.perf_counter() - began
    meter.turn()  # the read in which all are compared
    said = {"contenders": len(found.rungs), "dropped": len(found.dropped), "winner": found.winner.n_components, "passes": found.passes}
    rungs = [(rung.n_components, rung.number, rung.bic, rung.passes, rung.converged) for rung in found.rungs]
    memory = {"rungs": rungs, "peak_bytes_of_imports": imported, "peak_bytes": peak_bytes()}
    print(json.dumps({**said, **memory, "seconds": seconds, "rows": source.n_rows, "blocks": source.n_blocks, "reads": meter.passes}))


if __name__ == "__main__":
    main()
