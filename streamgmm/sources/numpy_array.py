"""Rows in memory: NumPy arrays and memory maps, lists of lists, data frames. Floor 4.

The array is kept as it is given (any real dtype, byte order, memory order) and converted block by block; a memory map stays on
disk. It is also what a piece of another source becomes when it travels to a worker: then it holds only some of the rows.
"""

__all__ = ["NumpyArraySource", "array_of", "from_array_like", "held_in_memory", "names_of"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.block import EXACT_INTEGER
from streamgmm.errors import DataError, SchemaError
from streamgmm.sources._checks import check_dtype, check_shape, check_table, column_names
from streamgmm.sources._columns import frame_dtypes, frame_rows, is_frame, unmasked
from streamgmm.sources.base import AbstractSource, EndOfSource

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False, kw_only=True)
class NumpyArraySource(AbstractSource):
    """An array (n d) in memory.

    first_row: global number of array[0]. table_rows: rows of the whole table, of which the array holds some; None for
    first_row + n. A source that holds only some rows answers for the blocks that lie wholly in them.
    """

    array: AnyArray
    first_row: int = 0
    table_rows: int | None = None

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return self.first_row + int(self.array.shape[0]) if self.table_rows is None else self.table_rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return self.array.dtype

    @property
    def in_memory(self) -> bool:
        """See the base class: all but memory maps."""
        return not isinstance(self.array, np.memmap)

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        start, stop = self.span(index)
        low, high = start - self.first_row, stop - self.first_row
        if low < 0 or high > self.array.shape[0]:
            raise EndOfSource(f"block {index} is not among the rows that this piece of the table holds")
        return self.array[low:high]

    def portable_rows(self, first: int, last: int) -> "NumpyArraySource":
        """See the base class."""
        start, stop = self.span(first)[0], min(last * self.block_rows, self.n_rows)
        rows = self.array[start - self.first_row : stop - self.first_row]
        return NumpyArraySource(
            feature_names=self.feature_names,
            units=self.units,
            block_rows=self.block_rows,
            missing=self.missing,
            array=rows,
            first_row=start,
            table_rows=self.n_rows,
        )


def held_in_memory(source: AbstractSource, first: int, last: int) -> NumpyArraySource:
    """Blocks first .. last-1 of any source cut by row number, read now; fewer where the rows end before."""
    loaded = [source.load(first)]
    for index in range(first + 1, last):
        try:
            loaded.append(source.load(index))
        except EndOfSource:
            break
    return NumpyArraySource(
        feature_names=source.feature_names,
        units=source.units,
        block_rows=source.block_rows,
        missing=source.missing,
        array=np.concatenate(loaded),
        first_row=source.start(first),
        table_rows=source.n_rows,
    )


def from_array_like(table: Any) -> NumpyArraySource:
    """A source of anything that NumPy can view as a table, with the column names of a data frame."""
    if is_frame(table):
        check_shape(table.shape)
        for name, dtype in zip(names_of(table, table.shape[1]), frame_dtypes(table.dtypes), strict=True):
            check_dtype(dtype, name)
    array = array_of(table)
    check_table(array.shape, array.dtype)
    names = names_of(table, array.shape[1])
    return NumpyArraySource(feature_names=names, units=("",) * len(names), array=array)


def names_of(table: Any, n_features: int) -> tuple[str, ...]:
    """Column names of a table in memory: pandas says `columns`, Arrow `column_names`, others nothing."""
    return column_names(getattr(table, "column_names", getattr(table, "columns", None)), n_features)


def array_of(table: Any) -> AnyArray:
    """The table as one array, not copied where it is one. Raises SchemaError for what is no numbers, DataError for masked cells."""
    if not is_frame(table):
        return _as_array(table)
    dtypes = set(table.dtypes)
    if len(dtypes) == 1 and isinstance(table.dtypes.iloc[0], np.dtype):
        return np.asarray(table.to_numpy())
    return frame_rows(table, column_names(table.columns, table.shape[1]), "the frame")


def _as_array(table: Any) -> AnyArray:
    try:
        array = unmasked(table)
    except DataError:
        raise
    except ValueError as error:  # rows of different lengths
        raise SchemaError(f"could not convert X to an array of rows: {error}") from error
    return _from_objects(array) if array.dtype.kind == "O" else array


def _from_objects(array: AnyArray) -> npt.NDArray[np.float64]:
    """float64 of an array of Python objects, as scikit-learn does: numbers are converted, None is NaN, text is refused."""
    try:
        values: npt.NDArray[np.float64] = array.astype(np.float64)
    except ValueError as error:
        raise SchemaError(f"X has dtype object: {error}. Pass numeric columns.") from error
    large = np.abs(values) >= EXACT_INTEGER
    if (values[large].astype(object) != array[large]).any():
        raise DataError("X has dtype object and holds integers beyond 2**53, which are not exact in float64. Subtract an offset.")
    return values
