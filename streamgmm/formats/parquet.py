"""Parquet files as a table to be stored. Floor 4.

Parquet declares its dtypes. Floats keep their width; integers and booleans without nulls stay integers (booleans as uint8), with nulls
they become float64, as decimals do. Whether there are nulls is in the statistics of the row groups; where those are absent the column
is read once for it. Row groups are read in batches, page by page.
"""

__all__ = ["Parquet"]

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamgmm.column_names import name_fault
from streamgmm.errors import SchemaError, nearest
from streamgmm.formats._arrow import as_numpy, reading
from streamgmm.formats.base import AbstractFormat, Batch, Table, choose_columns, leave_out, refuse_duplicates

BATCH_ROWS = 65_536
READ_BUFFER_BYTES = 2**20


@final
class Parquet(AbstractFormat):
    """Flat numeric columns of Parquet files; units from the fields' metadata (`unit` or `units`)."""

    def open(self, paths: Sequence[Path], columns: Sequence[str] | None, null_values: Sequence[str]) -> Table:
        """See AbstractFormat; Parquet has nulls of its own, so null_values plays no part."""
        schema = _schema(paths[0])
        faults = {column.name: name_fault(column.name) or _type_fault(column.type) for column in schema}
        names, left_out = choose_columns(columns, faults, paths[0])
        nullable, n_rows = _scan_footers(paths, schema, names)
        dtypes = {name: _dtype(schema.field(name).type, nullable=name in nullable) for name in names}
        units = {name: unit for name in names if (unit := _unit(schema.field(name)))}
        return Table(dtypes, left_out, lambda: _batches(paths, dtypes), units, n_rows)


def _open(path: Path) -> pq.ParquetFile:
    # With a buffer pyarrow reads pages as they come, not the columns of a whole row group at once.
    return pq.ParquetFile(path, buffer_size=READ_BUFFER_BYTES, pre_buffer=False)


def _schema(path: Path) -> pa.Schema:
    with reading(path), _open(path) as file:
        schema = file.schema_arrow
    refuse_duplicates(schema.names, path)
    return schema


def _type_fault(kind: pa.DataType) -> str:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return "" if any(test(kind) for test in tests) else f"its type is {kind}, not a number"


def _dtype(kind: pa.DataType, *, nullable: bool) -> np.dtype[Any]:
    if pa.types.is_boolean(kind) and not nullable:
        return np.dtype(np.uint8)
    if pa.types.is_decimal(kind) or (nullable and not pa.types.is_floating(kind)):
        return np.dtype(np.float64)
    stored: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return stored


def _unit(column: pa.Field) -> str:
    metadata: Mapping[bytes, bytes] = column.metadata or {}
    return (metadata.get(b"unit") or metadata.get(b"units") or b"").decode("utf-8", "replace")


def _scan_footers(paths: Sequence[Path], schema: pa.Schema, names: Sequence[str]) -> tuple[set[str], int]:
    """Columns of integers that hold nulls somewhere, and rows in all; refuses files whose columns differ."""
    candidates = {name for name in names if not pa.types.is_floating(schema.field(name).type)}
    nullable: set[str] = set()
    n_rows = 0
    for path in paths:
        with reading(path), _open(path) as file:
            _refuse_other_columns(path, file.schema_arrow, schema, names, paths[0])
            n_rows += file.metadata.num_rows
            nullable |= {name for name in candidates - nullable if _has_nulls(file, name)}
    return nullable, n_rows


def _refuse_other_columns(path: Path, found: pa.Schema, expected: pa.Schema, names: Sequence[str], first: Path) -> None:
    refuse_duplicates(found.names, path)
    for name in names:
        if name not in found.names:
            raise SchemaError(f"{path}: no column {name!r}, which {first} has{nearest(name, found.names)}; {leave_out(name)}")
        if found.field(name).type != expected.field(name).type:
            raise SchemaError(
                f"{path}: column {name!r} is {found.field(name).type}, in {first} it is {expected.field(name).type};"
                " convert one of them, or ingest them into two stores"
            )
        one, other = _unit(found.field(name)), _unit(expected.field(name))
        if one != other and one and other:
            raise SchemaError(f"{path}: column {name!r} is in {one}, in {first} it is in {other}; convert one of them")


def _has_nulls(file: pq.ParquetFile, name: str) -> bool:
    return any(_group_has_nulls(file, group, name) for group in range(file.metadata.num_row_groups))


def _group_has_nulls(file: pq.ParquetFile, group: int, name: str) -> bool:
    metadata = file.metadata.row_group(group)
    columns = (metadata.column(i) for i in range(metadata.num_columns))
    statistics = next((column.statistics for column in columns if column.path_in_schema == name), None)
    if statistics is None or not statistics.has_null_count:
        return bool(file.read_row_group(group, columns=[name]).column(0).null_count)
    return bool(statistics.null_count)


def _batches(paths: Sequence[Path], dtypes: Mapping[str, np.dtype[Any]]) -> Iterator[Batch]:
    for path in paths:
        with reading(path), _open(path) as file:
            # One group after the other: asked for all of them at once, pyarrow holds the whole file in memory.
            for group in range(file.metadata.num_row_groups):
                for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=list(dtypes)):
                    yield as_numpy(batch, dtypes, path)
