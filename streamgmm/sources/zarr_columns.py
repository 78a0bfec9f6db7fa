"""Rows in a column store: a Zarr group with one 1-D array per column. Floor 4.

Columns have equal lengths, usually dimension name `row` and equal chunks; other chunks are read as well, each once in a pass. Units
are in the attribute `units` of a column, the order of the columns in the attribute `columns` of the group (by name where it has
none). Stores are written by `streamgmm.column_store`, or by plain xarray.
"""

__all__ = ["ZarrColumnsSource", "from_zarr_columns"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.errors import SchemaError
from streamgmm.sources._checks import check_dtype, check_shape
from streamgmm.sources._columns import store_column
from streamgmm.sources._row_cache import BYTES_KEPT, RowCache, regular_edges
from streamgmm.sources._zarr_checked import array_reader
from streamgmm.sources._zarr_metadata import check_codecs
from streamgmm.sources._zarr_store import ZarrArray, refuse_changed, travels, unit_rows
from streamgmm.sources.base import AbstractSource
from streamgmm.sources.numpy_array import held_in_memory

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False, kw_only=True)
class ZarrColumnsSource(AbstractSource):
    """1-D Zarr arrays of equal length side by side."""

    arrays: tuple[ZarrArray, ...]
    complete: tuple[bool, ...] = ()  # for each, whether every chunk was there when the store was opened; nothing where nobody looked

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return int(self.arrays[0].shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return np.result_type(*(array.dtype for array in self.arrays))

    @property
    def rows_per_read(self) -> int:
        """See the base class."""
        return max(unit_rows(array, len(self.arrays)) for array in self.arrays)

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        start, stop = self.span(index)
        rows = np.empty((stop - start, len(self.arrays)))
        for j, cache in enumerate(self.once("_cached_columns", self._caches)):
            for at, values in cache.pieces(start, stop):
                store_column(rows, j, at - start, values, self.feature_names[j], f"block {index}")
        return rows

    def portable_rows(self, first: int, last: int) -> AbstractSource:
        """See the base class."""
        if all(travels(array.store) for array in self.arrays):
            return self.without_weights()
        return held_in_memory(self, first, last)

    def refuse_changes(self) -> None:
        """See the base class."""
        for array, name in zip(self.arrays, self.feature_names, strict=True):
            refuse_changed(array, f"column {name!r}")

    def _caches(self) -> list[RowCache]:
        complete = self.complete or (False,) * len(self.arrays)
        return [self._cache(*column) for column in zip(self.arrays, self.feature_names, complete, strict=True)]

    def _cache(self, array: ZarrArray, name: str, complete: bool) -> RowCache:
        d = len(self.arrays)
        edges = regular_edges(self.n_rows, unit_rows(array, d), self.block_rows)
        return RowCache(edges, array_reader(array, f"column {name!r}", complete=complete).rows, BYTES_KEPT // d)


def from_zarr_columns(arrays: Mapping[str, ZarrArray]) -> ZarrColumnsSource:
    """A source of the named 1-D arrays. Raises SchemaError where they do not make a table."""
    for name, array in arrays.items():
        check_codecs(array.metadata.to_dict(), f"column {name!r}")
        if array.ndim != 1:
            raise SchemaError(f"column {name!r} has shape {array.shape}; columns have one axis. Select 1-D columns.")
        check_dtype(np.dtype(array.dtype), name)
        unit_rows(array, len(arrays))
        _refuse_encoding(array, name)
    _refuse_unequal(arrays)
    return ZarrColumnsSource(
        feature_names=tuple(arrays),
        units=tuple(str(array.attrs.get("units", "")) for array in arrays.values()),
        arrays=tuple(arrays.values()),
    )


def _refuse_unequal(arrays: Mapping[str, ZarrArray]) -> None:
    lengths = {name: int(array.shape[0]) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} {rows}" for name, rows in lengths.items())
        raise SchemaError(f"columns of different length are not one table: {listed} rows")
    check_shape((next(iter(lengths.values()), 0), len(lengths)))
    dimensions = {name: array.metadata.dimension_names for name, array in arrays.items() if hasattr(array.metadata, "dimension_names")}
    named = {name: axes[0] for name, axes in dimensions.items() if axes and axes[0] is not None}
    if len(set(named.values())) > 1:
        raise SchemaError(f"columns along different dimensions are not one table: {named}")


def _refuse_encoding(array: ZarrArray, name: str) -> None:
    """Packed values and missing-value marks of the CF conventions, which xarray would decode, are not the column's values."""
    attributes = array.attrs
    packed = [key for key, plain in (("scale_factor", 1), ("add_offset", 0)) if attributes.get(key, plain) != plain]
    marks = [key for key in ("_FillValue", "missing_value") if _is_number(attributes.get(key))]
    if packed or marks:
        raise SchemaError(
            f"column {name!r} is encoded by its attributes {', '.join(packed + marks)}; open the store with xarray.open_zarr, which decodes"
            " it, and pass the Dataset"
        )


def _is_number(mark: Any) -> bool:
    # xarray writes the mark of a float column as base64 text, and there it is NaN unless someone chose otherwise.
    if isinstance(mark, str):
        return mark not in {"AAAAAAAA+H8=", "NaN"}
    return isinstance(mark, int | float) and not math.isnan(mark)
