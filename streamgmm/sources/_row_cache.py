"""Rows by number from a store that hands over whole chunks, each fetched once in a pass. Floor 4.

Blocks are cut by row number and straddle the chunks of a store. Reading each block by itself would fetch and decode a chunk once
for every block in it, so runs of whole chunks are fetched and the last few kept, decoded, until their rows have been given out.
Several threads may ask at once, roughly in rising order; two that want the same run cause one fetch. This is NOT a cache of the
table: what is kept is bounded in bytes.
"""

__all__ = ["BYTES_KEPT", "Edges", "RowCache", "grouped_edges", "regular_edges"]

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamgmm.errors import DataError

BYTES_KEPT = 64 * 2**20  # decoded rows that a source keeps between reads: a few runs of common chunk sizes

AnyArray = npt.NDArray[np.generic]
Edges = npt.NDArray[np.int64]


def regular_edges(n_rows: int, chunk_rows: int, at_least: int) -> Edges:
    """First rows of runs of equal chunks, as many chunks to a run as give `at_least` rows; the last edge is n_rows."""
    run_rows = chunk_rows * -(-at_least // chunk_rows)
    return np.append(np.arange(0, n_rows, run_rows, dtype=np.int64), np.int64(n_rows))


def grouped_edges(chunk_rows: Sequence[int], at_least: int) -> Edges:
    """The same for chunks of any lengths, zero included."""
    edges = [0]
    end = 0
    for rows in chunk_rows:
        end += rows
        if end - edges[-1] >= at_least:
            edges.append(end)
    if end > edges[-1]:
        edges.append(end)
    return np.array(edges, dtype=np.int64)


@dataclass(eq=False)
class _Run:
    n_rows: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    rows: AnyArray | None = None
    rows_given: int = 0
    counted: bool = False


class RowCache:
    """Rows of a store whose runs begin at `edges[:-1]`; edges[-1] is the number of rows. fetch(start, stop) reads one run."""

    def __init__(self, edges: Edges, fetch: Callable[[int, int], AnyArray], bytes_kept: int = BYTES_KEPT) -> None:
        self._edges = edges
        self._fetch = fetch
        self._bytes_kept = bytes_kept
        self._lock = threading.Lock()
        self._runs: OrderedDict[int, _Run] = OrderedDict()  # the least recently used first
        self._spent: OrderedDict[int, None] = OrderedDict()  # all of their rows have been given out
        self._bytes = 0
        self._readers = 0
        self._most_readers = 0

    def rows(self, start: int, stop: int) -> AnyArray:
        """Rows start .. stop-1: a view where one run holds them all, else a new array."""
        pieces = [rows for _, rows in self.pieces(start, stop)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, AnyArray]]:
        """Views that together are rows start .. stop-1, each with the number of its first row."""
        first = int(np.searchsorted(self._edges, start, side="right")) - 1
        last = int(np.searchsorted(self._edges, stop, side="left"))
        for number in range(first, last):
            begin, end = int(self._edges[number]), int(self._edges[number + 1])
            low, high = max(start, begin), min(stop, end)
            yield low, self._take(number, begin, end, high - low)[low - begin : high - begin]

    def _take(self, number: int, begin: int, end: int, n_wanted: int) -> AnyArray:
        run = self._enter(number, end - begin)
        try:
            with run.lock:
                if run.rows is None:
                    run.rows = _whole(self._fetch(begin, end), begin, end)
                return run.rows
        finally:
            self._leave(number, run, n_wanted)

    def _enter(self, number: int, n_rows: int) -> _Run:
        with self._lock:
            run = self._runs.setdefault(number, _Run(n_rows))
            self._runs.move_to_end(number)
            self._readers += 1
            self._most_readers = max(self._most_readers, self._readers)
            return run

    def _leave(self, number: int, run: _Run, n_given: int) -> None:
        with self._lock:
            self._readers -= 1
            if run.rows is None or self._runs.get(number) is not run:
                return
            if not run.counted:
                run.counted = True
                self._bytes += run.rows.nbytes
            run.rows_given += n_given
            if run.rows_given >= run.n_rows:
                self._spent[number] = None
            while self._bytes > self._bytes_kept and (victim := self._victim(number)) is not None:
                self._drop(victim)

    def _victim(self, current: int) -> int | None:
        # A run whose rows have all been given out goes first. The others are what readers are working on: one for each reader and
        # one more stay beyond the bound, up to four times the bound, and two whatever their size.
        spent = next((number for number in self._spent if number != current), None)
        if spent is not None:
            return spent
        crowded = len(self._runs) > self._most_readers + 1 or self._bytes > 4 * self._bytes_kept
        if len(self._runs) <= 2 or not crowded:
            return None
        return next((number for number, run in self._runs.items() if run.counted and number != current), None)

    def _drop(self, number: int) -> None:
        run = self._runs.pop(number)
        self._spent.pop(number, None)
        self._bytes -= 0 if run.rows is None else run.rows.nbytes


def _whole(rows: AnyArray, begin: int, end: int) -> AnyArray:
    if rows.shape[0] != end - begin:
        raise DataError(f"the store gave {rows.shape[0]} rows for rows {begin} to {end - 1} ({end - begin} rows): its lengths are wrong")
    return rows
