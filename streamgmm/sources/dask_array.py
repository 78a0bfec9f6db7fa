"""Rows in a dask array whose chunk lengths are known. Floor 4.

Chunks are computed as wholes, each once in a pass, and blocks cut from them by row number. A task on a worker gets the chunks that
its blocks touch as dependencies and nothing else. Arrays of unknown chunk lengths are partitions: see `dask_partitions`.
"""

__all__ = ["DaskArraySource", "from_dask_array", "lengths_known", "refuse_other_chunks", "whole_rows"]

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.errors import DataError
from streamgmm.sources._checks import check_table, default_names
from streamgmm.sources._columns import unmasked
from streamgmm.sources._delayed import compute, delayed_with
from streamgmm.sources._row_cache import RowCache, grouped_edges
from streamgmm.sources.base import AbstractSource
from streamgmm.sources.numpy_array import NumpyArraySource

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False, kw_only=True)
class DaskArraySource(AbstractSource):
    """A dask array (n d) of known chunk lengths, one chunk wide."""

    array: Any

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return int(self.array.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return self.array.dtype  # type: ignore[no-any-return]

    @property
    def computed(self) -> bool:
        """See the base class."""
        return True

    @property
    def rows_per_read(self) -> int:
        """See the base class."""
        return int(max(self.array.chunks[0]))

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        return self._cache().rows(*self.span(index))

    def portable_rows(self, first: int, last: int) -> Any:
        """See the base class."""
        start, stop = self.span(first)[0], min(last * self.block_rows, self.n_rows)
        low, high = self._chunks_of(start, stop)
        chunk_start = int(self._chunk_edges()[low])
        template = (self.feature_names, self.units, self.block_rows, self.missing, self.n_rows)
        return delayed_with(_assembled, self._pieces()[low:high], start - chunk_start, start, stop, template)

    def _cache(self) -> RowCache:
        return self.once("_cached_rows", lambda: RowCache(grouped_edges(self.array.chunks[0], self.block_rows), self._fetch))

    def _pieces(self) -> list[Any]:
        return self.once("_delayed_chunks", lambda: list(self.array.to_delayed().ravel()))

    def _chunk_edges(self) -> npt.NDArray[np.int64]:
        return np.concatenate(([0], np.cumsum(self.array.chunks[0], dtype=np.int64)))

    def _chunks_of(self, start: int, stop: int) -> tuple[int, int]:
        """Numbers low .. high-1 of the chunks that hold rows start .. stop-1."""
        edges = self._chunk_edges()
        return int(np.searchsorted(edges, start, side="right")) - 1, int(np.searchsorted(edges, stop, side="left"))

    def _fetch(self, start: int, stop: int) -> AnyArray:
        low, high = self._chunks_of(start, stop)
        filled = [piece for piece, rows in zip(self._pieces()[low:high], self.array.chunks[0][low:high], strict=True) if rows]
        return _stacked(compute(filled))


def lengths_known(array: Any) -> bool:
    """Whether all chunk lengths of a dask array are known."""
    return not any(np.isnan(rows) for rows in array.chunks[0])


def from_dask_array(array: Any) -> DaskArraySource:
    """A source of a dask array (n d) of known chunk lengths; chunks narrower than a row are merged, with a warning."""
    check_table(array.shape, np.dtype(array.dtype))
    refuse_other_chunks(array)
    d = int(array.shape[1])
    return DaskArraySource(feature_names=default_names(d), units=("",) * d, array=whole_rows(array))


def refuse_other_chunks(array: Any) -> None:
    """Chunks must be NumPy arrays: not sparse, not on another device."""
    meta = getattr(array, "_meta", None)
    if meta is not None and not isinstance(meta, np.ndarray):
        raise TypeError(
            f"a dask array with chunks of type {type(meta).__module__}.{type(meta).__name__} is not supported (sparse data is not"
            " supported); map its blocks to NumPy arrays first"
        )


def whole_rows(array: Any) -> Any:
    """The array with one chunk across the columns."""
    if len(array.chunks[1]) == 1:
        return array
    merged = array.rechunk({0: "auto", 1: -1} if lengths_known(array) else {1: -1})
    warnings.warn(
        f"the dask array is chunked along its columns: re-chunked from {_shown(array.chunks)} to {_shown(merged.chunks)}, which moves"
        " every row at every pass. Store it with one chunk across the columns to avoid the cost.",
        UserWarning,
        stacklevel=2,
    )
    return merged


def _shown(chunks: Sequence[Sequence[int]]) -> str:
    axes = [f"{len(lengths)} x {max(lengths)}" for lengths in chunks]
    return f"({', '.join(axes)})"


def _stacked(chunks: Sequence[Any]) -> AnyArray:
    arrays = [unmasked(chunk) for chunk in chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _assembled(
    chunks: Sequence[Any], offset: int, start: int, stop: int, template: tuple[tuple[str, ...], tuple[str, ...], int, str, int]
) -> NumpyArraySource:
    names, units, block_rows, missing, table_rows = template
    rows = _stacked(chunks)[offset : offset + stop - start]
    if rows.shape[0] != stop - start:
        raise DataError(f"the chunks hold {rows.shape[0]} rows for rows {start} to {stop - 1}: the dask array's chunk lengths are wrong")
    return NumpyArraySource(
        feature_names=names,
        units=units,
        block_rows=block_rows,
        missing=missing,
        array=rows,
        first_row=start,
        table_rows=table_rows,
    )
