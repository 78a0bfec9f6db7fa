"""Rows in Parquet files: one file, a folder of files, a HATS catalogue. Floor 4.

The rows of all files, in the order of their sorted paths, are one table, numbered across the files. Whole row groups are read, each
once in a pass. Nulls are NaN. Nested columns, text and dates are not numbers and are not read.
"""

__all__ = ["ParquetSource", "from_parquet"]

import errno
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from streamgmm.arrays import ArrayND
from streamgmm.errors import DataError, SchemaError, StorageError
from streamgmm.sources._checks import check_dtype, check_shape, chosen_columns
from streamgmm.sources._columns import store_column
from streamgmm.sources._row_cache import Edges, RowCache, grouped_edges
from streamgmm.sources.base import AbstractSource, EndOfSource

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True)
class RowGroup:
    """One row group: its file, its number in it, its rows."""

    file: str
    number: int
    n_rows: int


@dataclass(frozen=True, eq=False, kw_only=True)
class ParquetSource(AbstractSource):
    """Columns of Parquet files.

    row_groups: those held, in order. first_row: global number of the first row held. table_rows: rows of all files.
    stored_dtype: dtype of the widest column.
    """

    row_groups: tuple[RowGroup, ...]
    table_rows: int
    stored_dtype: np.dtype[Any]
    first_row: int = 0

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return self.table_rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return self.stored_dtype

    @property
    def rows_per_read(self) -> int:
        """See the base class."""
        return max(group.n_rows for group in self.row_groups)

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        start, stop = self.span(index)
        edges = self.once("_edges_of_groups", self._edges)
        if start < self.first_row or stop > edges[-1]:
            raise EndOfSource(f"block {index} is not among the rows that this piece of the table holds")
        return self.once("_cached_rows", self._cache).rows(start, stop)

    def portable_rows(self, first: int, last: int) -> AbstractSource:
        """See the base class. Only the row groups that these blocks touch go along: a survey has many thousands."""
        start, stop = self.span(first)[0], min(last * self.block_rows, self.n_rows)
        low, high = self._groups_of(start, stop)
        first_row = int(self.once("_edges_of_groups", self._edges)[low])
        return replace(self, row_groups=self.row_groups[low:high], first_row=first_row, sample_weight=None)

    def _cache(self) -> RowCache:
        lengths = [group.n_rows for group in self.row_groups]
        return RowCache(grouped_edges(lengths, self.block_rows) + self.first_row, self._fetch)

    def _edges(self) -> Edges:
        lengths = np.array([group.n_rows for group in self.row_groups], dtype=np.int64)
        return self.first_row + np.concatenate(([0], np.cumsum(lengths)))

    def _groups_of(self, start: int, stop: int) -> tuple[int, int]:
        """Numbers low .. high-1 of the held row groups that have rows among start .. stop-1."""
        edges = self.once("_edges_of_groups", self._edges)
        return int(np.searchsorted(edges, start, side="right")) - 1, int(np.searchsorted(edges, stop, side="left"))

    def _fetch(self, start: int, stop: int) -> ArrayND:
        low, high = self._groups_of(start, stop)
        rows = np.empty((stop - start, self.n_features))
        at = 0
        for path, groups in groupby(self.row_groups[low:high], lambda group: group.file):
            table = _read_groups(path, [group.number for group in groups], self.feature_names)
            if at + table.num_rows > len(rows):
                raise DataError(f"{path} has other row groups than when it was opened; it changed meanwhile")
            _store_table(rows, at, table, self.feature_names, path)
            at += table.num_rows
        return rows[:at]


def from_parquet(files: Sequence[Path], features: Sequence[str] | None, exclude: str | None = None) -> ParquetSource:
    """A source of files, in the order given. features: names of columns; None takes every flat numeric column but `exclude`."""
    schema = _schema(files[0])
    numeric = [name for name, dtype in _dtypes(schema).items() if dtype is not None and name != exclude]
    names = chosen_columns(features, numeric, schema.names, str(files[0]))
    row_groups: list[RowGroup] = []
    dtypes = [_column_dtypes(schema, names, files[0])]
    for path in files:
        metadata = _metadata(path)
        found = metadata.schema.to_arrow_schema()
        dtypes.append(_column_dtypes(found, names, path))
        _refuse_other_units(path, found, files[0], schema, names)
        row_groups += [RowGroup(str(path), i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]
    for j, name in enumerate(names):
        check_dtype(np.result_type(*(kinds[j] for kinds in dtypes)), name)
    held = tuple(group for group in row_groups if group.n_rows)
    n_rows = sum(group.n_rows for group in held)
    check_shape((n_rows, len(names)))
    return ParquetSource(
        feature_names=names,
        units=tuple(_unit(schema.field(name)) for name in names),
        row_groups=held,
        table_rows=n_rows,
        stored_dtype=np.result_type(*(dtype for kinds in dtypes for dtype in kinds)),
    )


def _read_groups(path: str, numbers: list[int], names: Sequence[str]) -> pa.Table:
    # Reader threads are the parallelism: a pool of pyarrow's for each of them would only crowd the cores.
    alone = threading.current_thread() is threading.main_thread()
    try:
        with pq.ParquetFile(path) as file:
            return file.read_row_groups(numbers, columns=list(names), use_threads=alone)
    except (pa.ArrowException, OSError, IndexError) as error:
        _raise_from(error, path)


def _store_table(rows: ArrayND, at: int, table: pa.Table, names: Sequence[str], path: str) -> None:
    for j, name in enumerate(names):
        row = at
        for chunk in table.column(name).chunks:
            store_column(rows, j, row, _numbers(chunk, name, path), name, path)
            row += len(chunk)


def _numbers(chunk: pa.Array, name: str, path: str) -> AnyArray:
    if chunk.null_count or pa.types.is_decimal(chunk.type):
        try:
            chunk = chunk.cast(pa.float64())
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: column {name!r} is not exact in float64 ({error}). Subtract an offset, or leave it out.") from error
    return np.asarray(chunk.to_numpy(zero_copy_only=False))


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        _raise_from(error, str(path))


def _schema(path: Path) -> pa.Schema:
    return _metadata(path).schema.to_arrow_schema()


def _dtypes(schema: pa.Schema) -> dict[str, np.dtype[Any] | None]:
    return {field.name: _dtype(field.type) for field in schema}


def _dtype(kind: pa.DataType) -> np.dtype[Any] | None:
    if pa.types.is_decimal(kind):
        return np.dtype(np.float64)
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return np.dtype(kind.to_pandas_dtype()) if plain else None


def _column_dtypes(schema: pa.Schema, names: Sequence[str], path: Path) -> list[np.dtype[Any]]:
    known = _dtypes(schema)
    for name in names:
        if name not in known:
            raise SchemaError(f"{path} has no column {name!r}, which the first file has; its columns are {', '.join(known)}")
        if known[name] is None:
            raise SchemaError(f"{path}: column {name!r} has type {schema.field(name).type}; bool, integers, floats and decimals are read")
    return [dtype for name in names if (dtype := known[name]) is not None]


def _refuse_other_units(path: Path, found: pa.Schema, first: Path, expected: pa.Schema, names: Sequence[str]) -> None:
    for name in names:
        one, other = _unit(found.field(name)), _unit(expected.field(name))
        if one != other and one and other:  # a file that names none says nothing else
            raise SchemaError(f"{path}: column {name!r} is in {one}, in {first} it is in {other}; convert one of them")


def _unit(field: pa.Field) -> str:
    metadata = field.metadata or {}
    return str(metadata.get(b"unit", metadata.get(b"units", b"")).decode("utf-8", "replace"))


def _raise_from(error: Exception, path: str) -> NoReturn:
    if isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.EMFILE}:
        raise StorageError(f"{path} cannot be read: {error}") from error
    raise SchemaError(f"{path} is not a whole Parquet file: {error}") from error
