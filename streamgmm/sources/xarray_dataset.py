"""Rows in xarray objects: a 2-D DataArray (rows first) or a Dataset of 1-D variables. Floor 4.

Values in memory are cut block by block; values that xarray opened without loading them are read in the chunks of their file, each once
in a pass. Objects backed by Dask are dask arrays with names and units, and become a source of that kind.
"""

__all__ = ["XarrayDatasetSource", "from_xarray"]

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from streamgmm.arrays import FloatArray
from streamgmm.errors import SchemaError
from streamgmm.sources._checks import check_dtype, check_shape, check_table, column_names
from streamgmm.sources._columns import refuse_inexact, store_column
from streamgmm.sources._row_cache import BYTES_KEPT, RowCache, regular_edges
from streamgmm.sources.base import AbstractSource
from streamgmm.sources.numpy_array import NumpyArraySource, held_in_memory

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False, kw_only=True)
class XarrayDatasetSource(AbstractSource):
    """Variables that are not backed by Dask: one with two axes (n d), or d with one axis (n)."""

    variables: tuple[xr.Variable, ...]

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return int(self.variables[0].shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return np.result_type(*(variable.dtype for variable in self.variables))

    @property
    def rows_per_read(self) -> int:
        """See the base class."""
        return max(_stored_rows(variable, self.block_rows) for variable in self.variables)

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        start, stop = self.span(index)
        caches = self.once("_cached_variables", self._caches)
        if self.variables[0].ndim == 2:
            return caches[0].rows(start, stop)
        rows = np.empty((stop - start, len(caches)))
        for j, cache in enumerate(caches):
            for at, values in cache.pieces(start, stop):
                store_column(rows, j, at - start, values, self.feature_names[j], f"block {index}")
        return rows

    def portable_rows(self, first: int, last: int) -> AbstractSource:
        """See the base class. Variables in memory would travel whole: of these only the rows do."""
        in_memory = any(variable._in_memory for variable in self.variables)  # noqa: SLF001  xarray has no public word for it
        return held_in_memory(self, first, last) if in_memory else self.without_weights()

    def _caches(self) -> list[RowCache]:
        return [self._cache(variable) for variable in self.variables]

    def _cache(self, variable: xr.Variable) -> RowCache:
        def fetch(start: int, stop: int) -> AnyArray:
            return np.asarray(variable[start:stop].values)

        edges = regular_edges(self.n_rows, _stored_rows(variable, self.block_rows), self.block_rows)
        return RowCache(edges, fetch, BYTES_KEPT // len(self.variables))


def from_xarray(table: Any) -> AbstractSource:
    """A source of a DataArray (n d) or of a Dataset whose variables are columns; a DataArray (n) counts as one column."""
    if isinstance(table, xr.Dataset):
        return _from_dataset(table)
    if table.ndim != 2:
        check_shape(table.shape)
    check_table(table.shape, np.dtype(table.dtype))
    d = int(table.shape[1])
    axis = table.dims[1]
    names = column_names(table.coords[axis].values.tolist() if axis in table.coords else None, d)
    units = _units_along(table, axis, d)
    if table.chunks is not None:
        return _from_dask(table.data, names, units)
    if table.variable._in_memory:  # noqa: SLF001
        return NumpyArraySource(feature_names=names, units=units, array=table.values)
    return XarrayDatasetSource(feature_names=names, units=units, variables=(table.variable,))


def _from_dataset(table: xr.Dataset) -> AbstractSource:
    columns = {str(name): array for name, array in table.data_vars.items()}
    for name, array in columns.items():
        if array.ndim != 1:
            raise SchemaError(f"variable {name!r} has axes {array.dims}; columns have one. Select them, for example dataset[['a', 'b']].")
        check_dtype(np.dtype(array.dtype), name)
    axes = {str(array.dims[0]) for array in columns.values()}
    if len(axes) > 1:
        raise SchemaError(
            f"variables lie along different dimensions {sorted(axes)}; select those of one table, for example dataset[['a', 'b']]"
        )
    check_shape((next((array.size for array in columns.values()), 0), len(columns)))
    names, units = tuple(columns), tuple(str(array.attrs.get("units", "")) for array in columns.values())
    if any(array.chunks is not None for array in columns.values()):
        return _from_dask(_stacked(columns), names, units)
    return XarrayDatasetSource(feature_names=names, units=units, variables=tuple(array.variable for array in columns.values()))


def _from_dask(array: Any, names: tuple[str, ...], units: tuple[str, ...]) -> AbstractSource:
    made: AbstractSource = importlib.import_module("streamgmm.sources.dask_array").from_dask_array(array)
    return replace(made, feature_names=names, units=units)


def _stacked(columns: Mapping[str, xr.DataArray]) -> Any:
    dask_array = importlib.import_module("dask.array")
    pieces = [_exact(array.chunk().data, name) for name, array in columns.items()]
    return dask_array.stack(pieces, axis=1).rechunk({1: -1})


def _exact(column: Any, name: str) -> Any:
    return column.map_blocks(_as_float64, name, dtype=np.float64, meta=np.empty(0))


def _as_float64(values: AnyArray, name: str) -> FloatArray:
    refuse_inexact(values, name, "a chunk")
    return values.astype(np.float64)


def _stored_rows(variable: xr.Variable, otherwise: int) -> int:
    """Rows of a shard or chunk of the file that the variable comes from."""
    shards: Sequence[int] | None = variable.encoding.get("shards")
    if shards:
        return int(shards[0])
    return int(variable.encoding.get("preferred_chunks", {}).get(variable.dims[0], otherwise))


def _units_along(table: xr.DataArray, axis: Any, d: int) -> tuple[str, ...]:
    if "units" in table.coords and table.coords["units"].dims == (axis,):
        return tuple(str(unit) for unit in table.coords["units"].values)
    return (str(table.attrs.get("units", "")),) * d
