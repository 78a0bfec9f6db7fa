"""Rows from an iterator of arrays, which can be read only once. Floor 4.

Arrays of any lengths are cut anew into blocks of `block_rows` rows, by the number of the row since the start. Only schedules that need
no second look can use it. Block numbers may be asked for a little out of order, as several threads do: blocks passed over are kept
until they are asked for.
"""

__all__ = ["IteratorSource", "from_iterator"]

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayND
from streamgmm.block import as_float64
from streamgmm.errors import DataError, SchemaError, StreamGMMError
from streamgmm.sources._checks import check_dtype, check_shape
from streamgmm.sources.base import AbstractSource, EndOfSource
from streamgmm.sources.numpy_array import array_of, held_in_memory, names_of

MOST_PASSED_OVER = 64

AnyArray = npt.NDArray[np.generic]


class _Feed:
    """The iterator and what has been taken from it but not given out. Calls are serialised by the lock of its source."""

    def __init__(self, arrays: Iterator[Any], first: Any, names: tuple[str, ...]) -> None:
        self.lock = threading.Lock()
        self.next_block = 0
        self.passed_over: dict[int, ArrayND] = {}
        self.failure: Exception | None = None
        self._arrays = arrays
        self._names = names
        self._n_taken = 1
        self._rest = self._rows(first)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an iterator of arrays cannot be pickled; its source's portable() gives blocks that can")

    def block(self, n_rows: int) -> ArrayND | None:
        """The next rows, fewer than n_rows only at the end, None after it."""
        rows = np.empty((n_rows, len(self._names)))
        filled = 0
        while filled < n_rows and self._more():
            # Copied at once: a producer may fill the same array again for its next step.
            taken, self._rest = self._rest[: n_rows - filled], self._rest[n_rows - filled :]
            rows[filled : filled + len(taken)] = taken
            filled += len(taken)
        return rows[:filled] if filled else None

    def _more(self) -> bool:
        while not len(self._rest):
            try:
                given = next(self._arrays)
            except StopIteration:
                return False
            self._n_taken += 1
            self._rest = self._rows(given)
        return True

    def _rows(self, given: Any) -> ArrayND:
        return as_float64(array_of(given), self._names, f"array {self._n_taken} of the iterator")


@dataclass(frozen=True, eq=False, kw_only=True)
class IteratorSource(AbstractSource):
    """Arrays (n_i d) from an iterator. stored_dtype: dtype of the first of them."""

    feed: _Feed
    stored_dtype: np.dtype[Any]

    @property
    def n_rows(self) -> None:
        """See the base class."""
        return

    @property
    def n_blocks(self) -> None:
        """See the base class."""
        return

    @property
    def repeatable(self) -> bool:
        """See the base class."""
        return False

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return self.stored_dtype

    def load(self, index: int) -> AnyArray:
        """See the base class. A block is given out once; a second look is refused."""
        feed = self.feed
        with feed.lock:
            if index in feed.passed_over:
                return feed.passed_over.pop(index)
            self._refuse(index)
            for passed_over in range(feed.next_block, index):
                feed.passed_over[passed_over] = self._next(index)
            return self._next(index)

    def portable_rows(self, first: int, last: int) -> AbstractSource:
        """See the base class. The rows are taken from the iterator now."""
        return held_in_memory(self, first, last)

    def _refuse(self, index: int) -> None:
        feed = self.feed
        if feed.failure is not None:
            raise DataError(f"the iterator of arrays failed before block {index}: {feed.failure}") from feed.failure
        if index < feed.next_block:
            raise DataError(
                f"block {index} of an iterator of arrays has been read already; an iterator gives its rows once. Store the rows, or pass"
                " a source that can be read again (an array, a Zarr or Parquet store)."
            )
        if index - feed.next_block > MOST_PASSED_OVER:
            raise DataError(
                f"block {index} of an iterator of arrays was asked for when {feed.next_block} is next; at most {MOST_PASSED_OVER} blocks"
                " are passed over. An iterator is read in order."
            )

    def _next(self, index: int) -> ArrayND:
        try:
            rows = self.feed.block(self.block_rows)
        except Exception as error:
            self.feed.failure = error
            if isinstance(error, StreamGMMError):
                raise
            raise DataError(f"the iterator of arrays failed in block {self.feed.next_block}: {type(error).__name__}: {error}") from error
        if rows is None:
            raise EndOfSource(f"block {index}: the iterator of arrays ended after {self.feed.next_block} blocks")
        self.feed.next_block += 1
        return rows


def from_iterator(arrays: Iterator[Any], *, one_column: bool = False) -> IteratorSource:
    """A source of an iterator; its first array tells the columns. one_column: the arrays have one axis (row weights)."""
    shaped = (np.reshape(array_of(array), (-1, 1)) for array in arrays) if one_column else arrays
    try:
        first = next(shaped)
    except StopIteration:
        raise SchemaError("Found array with 0 sample(s) (the iterator of arrays is empty) while a minimum of 1 is required.") from None
    rows = array_of(first)
    check_dtype(rows.dtype)
    if rows.ndim != 2:
        check_shape(rows.shape)
    names = names_of(first, rows.shape[1])
    return IteratorSource(feature_names=names, units=("",) * len(names), feed=_Feed(shaped, first, names), stored_dtype=rows.dtype)
