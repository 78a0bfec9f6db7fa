"""Rows in a 2-D Zarr array (rows x columns), formats 2 and 3, sharded or not. Floor 4.

Whole shards or chunks are read, each once in a pass, and blocks cut from them by row number. On a worker the store is opened again,
so it must be a path that all machines see or a bucket; of a store in memory the rows travel instead.
"""

__all__ = ["ZarrArraySource", "from_zarr_array"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.errors import SchemaError
from streamgmm.sources._checks import check_names, check_table, default_names
from streamgmm.sources._row_cache import RowCache, regular_edges
from streamgmm.sources._zarr_checked import array_reader
from streamgmm.sources._zarr_metadata import check_codecs
from streamgmm.sources._zarr_store import ZarrArray, refuse_changed, travels, unit_rows
from streamgmm.sources.base import AbstractSource
from streamgmm.sources.numpy_array import held_in_memory

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False, kw_only=True)
class ZarrArraySource(AbstractSource):
    """Some columns, by number and in order, of a Zarr array (n d)."""

    array: ZarrArray
    columns: tuple[int, ...]
    complete: bool = False  # every chunk was there when the store was opened

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return int(self.array.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return np.dtype(self.array.dtype)

    @property
    def rows_per_read(self) -> int:
        """See the base class."""
        return unit_rows(self.array)

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        return self.once("_cached_rows", self._cache).rows(*self.span(index))

    def portable_rows(self, first: int, last: int) -> AbstractSource:
        """See the base class."""
        return self.without_weights() if travels(self.array.store) else held_in_memory(self, first, last)

    def refuse_changes(self) -> None:
        """See the base class."""
        refuse_changed(self.array, f"array {self.array.path or '/'}")

    def _cache(self) -> RowCache:
        return RowCache(regular_edges(self.n_rows, self.rows_per_read, self.block_rows), self._fetch)

    def _fetch(self, start: int, stop: int) -> AnyArray:
        low, high = min(self.columns), max(self.columns) + 1
        reader = self.once("_reader", lambda: array_reader(self.array, f"array {self.array.path or '/'}", complete=self.complete))
        rows = reader.rows(start, stop, slice(low, high))
        wanted = [j - low for j in self.columns]
        return rows if wanted == list(range(high - low)) else rows[:, wanted]


def from_zarr_array(array: ZarrArray) -> ZarrArraySource:
    """A source of all columns of a Zarr array; names and units from its attributes `feature_names` and `units`."""
    check_codecs(array.metadata.to_dict(), f"array {array.path or '/'}")
    check_table(array.shape, np.dtype(array.dtype))
    unit_rows(array)
    d = int(array.shape[1])
    return ZarrArraySource(
        feature_names=_names(array.attrs.get("feature_names"), d),
        units=_units(array.attrs.get("units"), d),
        array=array,
        columns=tuple(range(d)),
    )


def _names(attribute: Any, d: int) -> tuple[str, ...]:
    if attribute is None:
        return default_names(d)
    if not isinstance(attribute, list):
        raise SchemaError(f"attribute 'feature_names' is {attribute!r}, expected a list of {d} names")
    return check_names(attribute, d)


def _units(attribute: Any, d: int) -> tuple[str, ...]:
    if isinstance(attribute, list) and len(attribute) == d:
        return tuple(str(unit) for unit in attribute)
    return (str(attribute) if isinstance(attribute, str) else "",) * d
