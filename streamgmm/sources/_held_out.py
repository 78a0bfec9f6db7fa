"""Rows that a fit does not see, chosen by a hash of their number: they get weight 0, everything else stays as it is. Floor 4.

A row is held out where splitmix64 of its number in the table (Steele, Lea & Flood 2014; fixed constants, no seed) is below `share` times
2**64. Hence the same rows whatever blocks, workers or machine read them, and rows that are appended move none of the others.
"""

__all__ = ["HeldOutWeights", "held_out", "is_held_out", "mixed", "rows_held_out"]

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.errors import ConfigError
from streamgmm.sources._delayed import delayed_with
from streamgmm.sources.base import AbstractSource

AnyArray = npt.NDArray[np.generic]
Numbers = npt.NDArray[np.uint64]

TILE = 8192  # rows: their hashes stay in cache
GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mixed(numbers: npt.NDArray[np.integer[Any]]) -> Numbers:
    """splitmix64 of each number: all 64 bits depend on all of its bits."""
    z = numbers.astype(np.uint64)
    z += GOLDEN
    for shift, factor in ((np.uint64(30), FIRST), (np.uint64(27), SECOND)):
        z ^= z >> shift
        z *= factor
    z ^= z >> np.uint64(31)
    return z


def is_held_out(numbers: npt.NDArray[np.integer[Any]], share: float) -> npt.NDArray[np.bool_]:
    """Whether each row of these numbers is held out."""
    return mixed(numbers) < np.uint64(int(share * 2**64))


def rows_held_out(start: int, stop: int, share: float) -> npt.NDArray[np.bool_]:
    """Whether each of rows start .. stop-1 is held out. Every pass asks that of all rows: a tile at a time it takes a third of the time."""
    out = np.empty(stop - start, bool)
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        out[first - start : last - start] = is_held_out(np.arange(first, last), share)
    return out


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOutWeights(AbstractSource):
    """Weights of the rows of a table: 0 for those held out, their own (or 1) for the others.

    own: the rows' own weights, None where they have none. table_rows: rows of the table.
    """

    share: float
    table_rows: int
    own: AbstractSource | None = None

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return self.table_rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return np.dtype(np.float64)

    @property
    def repeatable(self) -> bool:
        """See the base class."""
        return self.own is None or self.own.repeatable

    @property
    def in_memory(self) -> bool:
        """See the base class."""
        return self.own is None or self.own.in_memory

    def refuse_changes(self) -> None:
        """See the base class."""
        if self.own is not None:
            self.own.refuse_changes()

    def load(self, index: int) -> AnyArray:
        """See the base class. A weight that is to be refused stays as it is, held out or not."""
        start, stop = self.span(index)
        own = self._own
        if own is None:
            return (~rows_held_out(start, stop, self.share)).astype(np.float64)[:, None]
        weight = np.array(own.load(index), np.float64).reshape(-1)
        out = rows_held_out(start, start + len(weight), self.share)
        weight[out & np.isfinite(weight) & (weight >= 0)] = 0
        return weight[:, None]

    def portable_rows(self, first: int, last: int) -> Any:
        """See the base class."""
        if self._own is None:
            return self
        own = self._own.portable(first, last)
        return replace(self, own=own) if isinstance(own, AbstractSource) else delayed_with(_with_own, [own], self)

    @property
    def _own(self) -> AbstractSource | None:
        return self.once("_same", lambda: None if self.own is None else self.own.with_block_rows(self.block_rows))


def _with_own(pieces: list[AbstractSource], weights: HeldOutWeights) -> AbstractSource:
    return replace(weights, own=pieces[0])


def held_out(source: AbstractSource, share: float) -> AbstractSource:
    """The same rows, with weight 0 for about this share of them. Raises ConfigError where rows have no number in the table."""
    if not share:
        return source
    if source.n_rows is None:
        raise ConfigError(
            "hold_out needs the number of each row in the table, which nobody knows for an iterator or for partitions of unknown length;"
            " use hold_out=0, or store the rows first"
        )
    own = source.sample_weight
    weights = HeldOutWeights(
        feature_names=("sample_weight",), units=("",), block_rows=source.block_rows, share=share, table_rows=source.n_rows, own=own
    )
    return source.without_weights().with_sample_weight(weights)
