"""One read of every block before a fit: rows for its sample, what the columns are like, and a check of every row. Floor 6.

A function is mapped over the blocks as in a pass. Each block draws its share of the sample with a generator of its own, seeded by the
seed and the block's number, and the fixed tree joins them in the order of the blocks: no executor, number of workers or order of arrival
changes a bit. Every block gives rows, hence what lies in few blocks of a sorted table is in the sample in its true proportion.
"""

__all__ = ["ScanBlock", "Scanned", "merge_scanned", "scan"]

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamgmm.arrays import ArrayN, ArrayND
from streamgmm.block import Block
from streamgmm.column_moments import Columns
from streamgmm.errors import DataError
from streamgmm.events import Event, ignore
from streamgmm.executors.base import AbstractExecutor
from streamgmm.initialisers._sample import Sample, refuse_underflow, rows_of
from streamgmm.reduce import Span, TreeReducer
from streamgmm.sources.base import AbstractSource


class Keeper(Protocol):
    """Keeps what is done of a scan."""

    def done(self) -> "tuple[tuple[Span, Scanned], ...]":
        """What was kept before."""

    def due(self) -> bool:
        """Whether it is time to keep what is done."""

    def keep(self, found: "tuple[tuple[Span, Scanned], ...]", /) -> None:
        """Keep it."""


@dataclass(frozen=True, eq=False)
class Scanned:
    """rows that take part and rows left out; the columns; rows x (m d) of the sample and the weight (m) that each stands for."""

    rows: int
    skipped: int
    columns: Columns
    x: ArrayND
    weight: ArrayN

    def merge(self, other: "Scanned") -> "Scanned":
        """Of these blocks and the next ones."""
        x, weight = np.concatenate((self.x, other.x)), np.concatenate((self.weight, other.weight))
        return Scanned(self.rows + other.rows, self.skipped + other.skipped, self.columns.merge(other.columns), x, weight)

    def fault(self) -> str:
        """What is wrong with it, "" for nothing."""
        sound = self.columns.is_finite() and np.isfinite(self.x).all() and np.isfinite(self.weight).all()
        return "" if sound and self.rows >= 0 and self.skipped >= 0 else "what a scan found in a block is not finite"


def merge_scanned(a: Scanned, b: Scanned) -> Scanned:
    """What executors merge by."""
    return a.merge(b)


@dataclass(frozen=True)
class ScanBlock:
    """The function that executors map. share: rows that a block gives to the sample, None for all."""

    seed: int
    share: int | None

    def __call__(self, block: Block) -> Scanned:
        """What one block gives."""
        columns = Columns.of(*rows_of(block, self.seed, None))
        return Scanned(block.n_rows, block.skipped, columns, *rows_of(block, self.seed, self.share))


def scan(
    source: AbstractSource,
    executor: AbstractExecutor,
    seed: int,
    n_rows: int,
    observe: Callable[[Event], None] = ignore,
    keeper: Keeper | None = None,
) -> tuple[Sample, Scanned]:
    """About `n_rows` rows, every block's share of them, and what the columns are like; all rows where there are no more.

    Raises DataError (no row takes part, or rows that can be read only once), NumericalError (a column that underflows), and what reading
    a block raises: no row is fitted to that has not been checked. keeper: where what is done is kept meanwhile.
    """
    if source.n_blocks is None:
        raise DataError("an iterator of arrays has no second look for a start; give the start's parameters, or store the rows first")
    everything = source.n_rows is not None and source.n_rows <= n_rows
    function = ScanBlock(seed, None if everything else -(-n_rows // max(source.n_blocks, 1)))
    found = _mapped(function, source, executor, observe, keeper)
    if found is None or not len(found.x):
        raise DataError(
            f"no row takes part: every row was left out (missing={source.missing!r}) or has zero weight. Choose columns that hold values."
        )
    refuse_underflow(found.columns.low, found.columns.high, source.feature_names)
    return Sample(found.x, found.weight, everything), found


def _mapped(
    function: ScanBlock,
    source: AbstractSource,
    executor: AbstractExecutor,
    observe: Callable[[Event], None],
    keeper: Keeper | None,
) -> Scanned | None:
    tree: TreeReducer[Scanned] = TreeReducer(merge_scanned, () if keeper is None else keeper.done())
    began, rows = time.monotonic(), sum(one.rows + one.skipped for _, one in tree.held)
    done = [span for span, _ in tree.held]
    with closing(executor.map_spans(function, merge_scanned, source, done=done, sound=lambda _, one: one.fault())) as found:
        for one in found:
            if not isinstance(one, Event):
                tree.add(*one)
                rows += one[1].rows + one[1].skipped
                details = {"task": "scan", "rows": rows, "of": source.n_rows, "seconds": time.monotonic() - began}
                observe(Event("reading", f"scan: {rows:,} rows", details))
            elif one.kind != "waiting":
                observe(one)
            if keeper is not None and tree.held and keeper.due():
                keeper.keep(tree.held)
    return tree.result()
