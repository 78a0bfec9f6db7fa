"""Columns side by side: 1-D arrays and data frames as rows (n d) of float64. Floor 4.

Columns are converted one at a time, because NumPy's common type of int64 and float64 is float64 and would round large integers
without a word. Data frames are taken by behaviour (pandas' methods), so that no data frame library is imported here.
"""

__all__ = ["frame_dtypes", "frame_rows", "is_frame", "refuse_inexact", "store_column", "unmasked"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayND
from streamgmm.block import as_float64
from streamgmm.errors import DataError, SchemaError

AnyArray = npt.NDArray[np.generic]


def store_column(out: ArrayND, j: int, offset: int, values: AnyArray, name: str, where: str) -> None:
    """Write 1-D values into column j of out, from row `offset` on; refuses integers that float64 would round."""
    refuse_inexact(values, name, where)
    out[offset : offset + values.shape[0], j] = values


def refuse_inexact(values: AnyArray, name: str, where: str) -> None:
    """Refuse 64-bit integers of one column that float64 would round."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        as_float64(values.reshape(-1, 1), (name,), where)


def unmasked(array: Any) -> AnyArray:
    """The array as NumPy holds it; refuses masked cells, whose values NumPy would bring back."""
    masked = int(np.count_nonzero(np.ma.getmaskarray(array))) if isinstance(array, np.ma.MaskedArray) else 0
    if masked:
        raise DataError(
            f"X is a masked array with {masked} masked cells. Pass X.filled(numpy.nan) and missing='skip', or remove their rows."
        )
    return np.asarray(array)


def is_frame(table: Any) -> bool:
    """Whether this is a data frame with pandas' methods."""
    return hasattr(table, "iloc") and hasattr(table, "dtypes") and hasattr(table, "columns")


def frame_dtypes(dtypes: Sequence[Any]) -> tuple[np.dtype[Any], ...]:
    """NumPy dtypes of a frame's columns; a nullable or Arrow column counts as what it holds, everything else as object."""
    return tuple(_numpy_dtype(dtype) for dtype in dtypes)


def frame_rows(frame: Any, names: Sequence[str], where: str) -> ArrayND:
    """Rows (n d) of a frame's columns, in order; missing values become NaN."""
    if len(frame.columns) != len(names):
        raise SchemaError(f"{where} has {len(frame.columns)} columns {list(frame.columns)}, expected {list(names)}")
    rows = np.empty((len(frame), len(names)))
    for j, name in enumerate(names):
        store_column(rows, j, 0, _column_values(frame.iloc[:, j], name, where), name, where)
    return rows


def _numpy_dtype(dtype: Any) -> np.dtype[Any]:
    if isinstance(dtype, np.dtype):
        return dtype
    if getattr(dtype, "kind", "O") not in "buif":
        return np.dtype(object)
    return np.dtype(getattr(dtype, "numpy_dtype", object))


def _column_values(column: Any, name: str, where: str) -> AnyArray:
    dtype = _numpy_dtype(column.dtype)
    if dtype.kind not in "buif":
        raise SchemaError(
            f"{where}: column {name!r} has dtype {column.dtype}, could not convert it to numbers. Convert it or leave it out."
        )
    if isinstance(column.dtype, np.dtype) or not column.isna().any():
        return np.asarray(column.to_numpy(dtype=dtype))
    refuse_inexact(np.asarray(column.dropna().to_numpy(dtype=dtype)), name, where)
    return np.asarray(column.to_numpy(dtype="f8", na_value=np.nan))
