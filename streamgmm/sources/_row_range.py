"""Rows of another source from one number to another, in that one's blocks: what a table was, and what was appended to it. Floor 4.

Blocks keep their numbers; the one that a range begins or ends in is cut. Blocks before the first row are empty. It is NOT a
kind of table of its own: it cannot be cut in other blocks.
"""

__all__ = ["RowRange", "row_range"]

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.block import Block
from streamgmm.sources.base import AbstractSource, EndOfSource

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False, kw_only=True)
class RowRange(AbstractSource):
    """Rows first_row .. last_row-1 of another source, of which this one may be a piece that has travelled."""

    source: AbstractSource
    first_row: int
    last_row: int

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return self.last_row - self.first_row

    @property
    def n_blocks(self) -> int:
        """See the base class: those before the first row count."""
        return -(-self.last_row // self.block_rows)

    @property
    def first_block(self) -> int:
        """The block in which the range begins."""
        return self.first_row // self.block_rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return self.source.dtype

    @property
    def repeatable(self) -> bool:
        """See the base class."""
        return self.source.repeatable

    @property
    def in_memory(self) -> bool:
        """See the base class."""
        return self.source.in_memory

    @property
    def computed(self) -> bool:
        """See the base class."""
        return self.source.computed

    @property
    def rows_per_read(self) -> int:
        """See the base class."""
        return self.source.rows_per_read

    @property
    def retries(self) -> Sequence[Any]:
        """See the base class."""
        return self.source.retries

    def start(self, index: int) -> int:
        """See the base class."""
        return max(index * self.block_rows, self.first_row)

    def rows_in(self, first: int, last: int) -> int:
        """See the base class."""
        return min(last * self.block_rows, self.last_row) - max(first * self.block_rows, self.first_row)

    def refuse_changes(self) -> None:
        """See the base class."""
        self.source.refuse_changes()

    def lost(self, index: int, error: Exception) -> Block:
        """See the base class. Only rows of this range count."""
        block = self.source.lost(index, error)
        rows = min((index + 1) * self.block_rows, self.last_row) - self.start(index)
        return replace(block, start=self.start(index), skipped=rows, sample_weight=None if self.sample_weight is None else np.empty(0))

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        if not 0 <= index < self.n_blocks:
            raise EndOfSource(f"block {index} is not among rows {self.first_row} to {self.last_row}")
        start = index * self.block_rows
        return self.source.load(index)[max(self.first_row - start, 0) : self.last_row - start]

    def portable_rows(self, first: int, last: int) -> Any:
        """See the base class."""
        rows = self.source.portable_rows(first, last)
        alone = replace(self, sample_weight=None)
        if isinstance(rows, AbstractSource):
            return replace(alone, source=rows)
        return importlib.import_module("streamgmm.sources._delayed").delayed_with(_filled, [rows], _emptied(alone))


def _filled(pieces: Sequence[AbstractSource], empty: RowRange) -> RowRange:
    return replace(empty, source=pieces[0])


def _emptied(rows: RowRange) -> RowRange:
    """Without the other source, which may hold a whole graph."""
    return replace(rows, source=None)  # type: ignore[arg-type]


def row_range(source: AbstractSource, first_row: int, last_row: int) -> RowRange:
    """These rows of a source whose blocks are cut by row number, with their weights."""
    weight = source.sample_weight
    return RowRange(
        feature_names=source.feature_names,
        units=source.units,
        block_rows=source.block_rows,
        missing=source.missing,
        sample_weight=None if weight is None else row_range(weight, first_row, last_row),
        source=source,
        first_row=first_row,
        last_row=last_row,
    )
