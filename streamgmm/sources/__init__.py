"""Where rows come from. Floor 4.

`as_source` takes a table by what it can do, not by its class; `open_source` opens a store by its address. One file per kind of source,
imported only when a table of its kind arrives, so that importing this brings in no library of any of them.
"""

__all__ = ["as_source", "open_source"]

import importlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from streamgmm.errors import DataError, MissingDependencyError, UnsupportedTableError, how_to_install
from streamgmm.sources._checks import check_names
from streamgmm.sources._locations import Location, locate, parquet_files
from streamgmm.sources.base import DEFAULT_BLOCK_ROWS, AbstractSource


def as_source(
    table: Any,
    *,
    sample_weight: Any = None,
    block_rows: int | None = None,
    missing: str | None = None,
    feature_names: Sequence[str] | None = None,
) -> AbstractSource:
    """Rows of a table: array, data frame, dask array or partitions, zarr array or group, xarray object, iterator, path, or a source.

    sample_weight: one weight per row, of any of these kinds with one axis. block_rows, missing: None keeps those of a source, and
    means 65,536 and "raise" for everything else. feature_names: other names for the columns.

    Raises SchemaError (shape, dtype, names), DataError, TypeError (sparse data).
    """
    source = table if isinstance(table, AbstractSource) else _from_table(table)
    if feature_names is not None:
        source = replace(source, feature_names=check_names(feature_names, source.n_features))
    if block_rows is not None:
        source = source.with_block_rows(block_rows)
    if missing is not None:
        source = source.with_missing(missing)
    return source if sample_weight is None else source.with_sample_weight(_as_weight(sample_weight, source))


def open_source(
    url_or_path: str | PathLike[str],
    *,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    missing: str = "raise",
    block_rows: int = DEFAULT_BLOCK_ROWS,
    allow_hosts: Collection[str] = (),
) -> AbstractSource:
    """Open a Zarr column store, a 2-D Zarr array, or Parquet (a file, a folder, a pattern), read-only.

    features: names of the columns, in order; None takes every numeric column but `weight`. weight: name of the column of row weights.
    allow_hosts: hosts of https URLs that may be private ones.

    Raises SecurityError before anything is read, DataError (nothing there), SchemaError (columns, metadata), StorageError.
    """
    location = locate(url_or_path, allow_hosts)
    files = _parquet_files(location)
    if files:
        source, weights = _open_parquet(files, features, weight)
    else:
        source, weights = _module("_zarr_open").open_zarr(location, features, weight)
    source = source.with_block_rows(block_rows).with_missing(missing)
    return source if weights is None else source.with_sample_weight(weights)


def _from_table(table: Any) -> AbstractSource:
    if isinstance(table, str | PathLike):
        return open_source(table)
    if hasattr(table, "nnz"):
        raise UnsupportedTableError("sparse data is not supported: densities need every value. Convert it, for example with X.toarray()")
    kind, function = _kind_of(table)
    made: AbstractSource = getattr(_module(kind), function)(table)
    return made


def _kind_of(table: Any) -> tuple[str, str]:
    """Module and function for a table, by what it can do."""
    if hasattr(table, "dims") and hasattr(table, "coords"):
        return "xarray_dataset", "from_xarray"
    if hasattr(table, "to_delayed"):
        return _kind_of_delayed(table)
    if hasattr(table, "store") and hasattr(table, "metadata"):
        return ("zarr_array", "from_zarr_array") if hasattr(table, "chunks") else ("_zarr_open", "from_zarr_group")
    if hasattr(table, "__next__"):
        return "iterator", "from_iterator"
    return "numpy_array", "from_array_like"


def _kind_of_delayed(table: Any) -> tuple[str, str]:
    if hasattr(table, "chunks") and (table.ndim == 0 or _module("dask_array").lengths_known(table)):
        return "dask_array", "from_dask_array"
    return "dask_partitions", "from_partitions"


def _as_weight(weight: Any, source: AbstractSource) -> AbstractSource:
    """One weight per row as a source of one column."""
    made = weight if isinstance(weight, AbstractSource) else _weight_from(weight)
    if source.n_rows is None and source.n_blocks is not None and made.n_rows is not None:
        raise DataError(
            "the rows are in partitions of unknown length, sample_weight is an array: nobody knows which weight is whose. For a dask array"
            " call compute_chunk_sizes() first; for a data frame pass one of its columns as sample_weight."
        )
    return made


def _weight_from(weight: Any) -> AbstractSource:
    made: AbstractSource
    kind, function = _kind_of(weight)
    module = _module(kind)
    if kind == "iterator":
        made = module.from_iterator(weight, one_column=True)
    elif kind == "zarr_array":
        made = _module("zarr_columns").from_zarr_columns({"sample_weight": weight})
    elif kind == "xarray_dataset":
        made = module.from_xarray(weight.to_dataset(name="sample_weight") if hasattr(weight, "to_dataset") else weight)
    else:
        made = getattr(module, function)(_as_column(weight, kind))
    return replace(made, feature_names=("sample_weight",) * made.n_features)


def _as_column(weight: Any, kind: str) -> Any:
    if kind == "dask_partitions" and not hasattr(weight, "chunks"):
        return weight  # a series or a frame
    array = _module("numpy_array").array_of(weight) if kind == "numpy_array" else weight
    if array.ndim != 1:
        raise DataError(f"Sample weights must be 1D array or scalar: sample_weight has shape {array.shape}, one weight per row is needed")
    return array[:, None]


def _parquet_files(location: Location) -> list[Path]:
    if location.path is not None:
        return parquet_files(location.path)
    if str(location.url).rstrip("/").endswith(".parquet"):
        raise DataError(f"{location.shown}: Parquet is read from local paths; copy the files or convert them to a Zarr column store")
    return []


def _open_parquet(
    files: Sequence[Path], features: Sequence[str] | None, weight: str | None
) -> tuple[AbstractSource, AbstractSource | None]:
    module = _module("parquet")
    rows: AbstractSource = module.from_parquet(files, features, weight)
    return rows, None if weight is None else module.from_parquet(files, [weight])


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"streamgmm.sources.{name}")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("streamgmm"):
            raise
        needed = f"this kind of table needs {error.name}, which is not installed"
        raise MissingDependencyError(f"{needed}: {how_to_install(error.name)}") from error
