"""Rows in partitions of unknown length: dask DataFrames, LSDB catalogues, anything with `to_delayed()`. Floor 4.

Every partition is one block, cut by the E-step from its own start, so no length is needed and empty partitions are harmless.
Partitions are data frames (pandas' methods) or arrays (n d). Dask arrays of known lengths are better read by row number: see
`dask_array`.
"""

__all__ = ["DaskPartitionsSource", "from_partitions"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.errors import SchemaError
from streamgmm.sources._checks import check_dtype, column_names, default_names
from streamgmm.sources._columns import frame_dtypes, frame_rows, is_frame, unmasked
from streamgmm.sources._delayed import compute, delayed_with
from streamgmm.sources.base import AbstractSource, EndOfSource
from streamgmm.sources.dask_array import refuse_other_chunks, whole_rows

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False, kw_only=True)
class DaskPartitionsSource(AbstractSource):
    """A table in `n_partitions` partitions, of which this source holds those from number `first` on.

    partitions: Delayed objects, or arrays (n d) that have been computed. stored_dtype: dtype of the widest column.
    """

    partitions: tuple[Any, ...]
    n_partitions: int
    stored_dtype: np.dtype[Any]
    first: int = 0

    @property
    def n_rows(self) -> None:
        """See the base class."""
        return None

    @property
    def computed(self) -> bool:
        """See the base class."""
        return True

    @property
    def n_blocks(self) -> int:
        """See the base class."""
        return self.n_partitions

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return self.stored_dtype

    def start(self, index: int) -> int:
        """See the base class."""
        return 0

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        if not 0 <= index - self.first < len(self.partitions):
            raise EndOfSource(f"partition {index} is not among the partitions {self.first} to {self.first + len(self.partitions) - 1}")
        partition = self.partitions[index - self.first]
        computed = partition if isinstance(partition, np.ndarray) else compute([partition])[0]
        return _rows(computed, self.feature_names, index)

    def portable_rows(self, first: int, last: int) -> Any:
        """See the base class."""
        held = self.partitions[first - self.first : last - self.first]
        if not held:
            raise EndOfSource(f"partitions {first} to {last - 1} are not in a table of {self.n_partitions} partitions")
        if all(isinstance(partition, np.ndarray) for partition in held):
            return replace(self, partitions=held, first=first, sample_weight=None)
        empty = replace(self, partitions=(), first=first, sample_weight=None)
        return delayed_with(_computed, held, empty)


def from_partitions(table: Any) -> DaskPartitionsSource:
    """A source of anything with `to_delayed()`: names and dtypes from the table where it says them, else from its first partition."""
    if hasattr(table, "chunks"):
        return _from_array(table)
    if getattr(table, "ndim", 2) == 1:  # a series
        table = table.to_frame()
    partitions = _flat(table.to_delayed())
    if not partitions:
        raise SchemaError("the table has no partitions; at least one is needed")
    columns, dtypes = _schema(table, partitions)
    for name, dtype in zip(columns, dtypes, strict=True):
        check_dtype(dtype, name)
    return DaskPartitionsSource(
        feature_names=columns,
        units=("",) * len(columns),
        partitions=partitions,
        n_partitions=len(partitions),
        stored_dtype=np.result_type(*dtypes),
    )


def _from_array(array: Any) -> DaskPartitionsSource:
    if array.ndim != 2:
        raise SchemaError(f"Expected 2D array, got a dask array of {array.ndim} axes instead. Reshape your data: one row per sample.")
    check_dtype(np.dtype(array.dtype))
    refuse_other_chunks(array)
    d = int(array.shape[1])
    partitions = _flat(whole_rows(array).to_delayed().ravel())
    return DaskPartitionsSource(
        feature_names=default_names(d),
        units=("",) * d,
        partitions=partitions,
        n_partitions=len(partitions),
        stored_dtype=np.dtype(array.dtype),
    )


def _flat(delayed: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(np.asarray(delayed, dtype=object).ravel())


def _schema(table: Any, partitions: Sequence[Any]) -> tuple[tuple[str, ...], tuple[np.dtype[Any], ...]]:
    described = table if hasattr(table, "columns") and hasattr(table, "dtypes") else compute(partitions[:1])[0]
    if hasattr(described, "dtypes"):
        dtypes = frame_dtypes(described.dtypes)
        return column_names(described.columns, len(dtypes)), dtypes
    first = unmasked(described)
    if first.ndim != 2:
        raise SchemaError(f"partitions must be data frames or arrays of shape (n, d); partition 0 has shape {first.shape}")
    return default_names(first.shape[1]), (first.dtype,) * first.shape[1]


def _rows(partition: Any, names: Sequence[str], index: int) -> AnyArray:
    where = f"partition {index}"
    if is_frame(partition):
        return frame_rows(partition, names, where)
    rows = unmasked(partition)
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise SchemaError(f"{where} has shape {rows.shape}, expected (n, {len(names)})")
    return rows


def _computed(partitions: Sequence[Any], empty: DaskPartitionsSource) -> DaskPartitionsSource:
    rows = tuple(_rows(partition, empty.feature_names, empty.first + i) for i, partition in enumerate(partitions))
    return replace(empty, partitions=rows)
