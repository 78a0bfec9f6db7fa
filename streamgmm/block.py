"""The Block: rows of one canonical piece of the table, checked. Floor 0.

A block is what the E-step sees: float64, C-contiguous, aligned, writeable, finite. What the store held (dtype, byte order, memory
order, chunks) ends here. It is NOT where rows are read (sources/) nor where missing values are modelled (observations/).
"""

__all__ = ["MISSING_POLICIES", "Block", "as_block", "as_float64", "as_weight"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayN, ArrayND, FloatArray
from streamgmm.errors import DataError, NonFiniteDataError, NumericalError, SchemaError

MISSING_POLICIES = ("raise", "skip")

LARGEST = 1e153  # the square of a larger number, summed over a block, leaves float64
EXACT_INTEGER = 2**53

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one canonical piece of the table.

    x: (n d) float64, C-contiguous, finite. sample_weight: (n) >= 0, or None for all ones. start: global number of the first row,
    or the number within its partition. kept: (n) positions of the rows within the canonical block, None when all were kept.
    skipped: rows left out because a value was missing, or all of them because the block could not be read: `damage` says why.
    """

    index: int
    start: int
    x: ArrayND
    sample_weight: ArrayN | None = None
    kept: npt.NDArray[np.intp] | None = None
    skipped: int = 0
    damage: str = ""

    @property
    def n_rows(self) -> int:
        """Rows that take part."""
        return int(self.x.shape[0])


def as_block(
    rows: AnyArray,
    *,
    index: int,
    start: int,
    feature_names: Sequence[str],
    missing: str = "raise",
    sample_weight: AnyArray | None = None,
) -> Block:
    """Turn raw rows (n d) of any real dtype into a Block.

    Infinity is always refused. NaN is refused (`missing="raise"`) or its rows are left out and counted (`missing="skip"`).

    Raises SchemaError (dtype, shape), NonFiniteDataError, DataError (weights), NumericalError (a value whose square overflows).
    """
    where = f"block {index}"
    x = as_float64(rows, feature_names, where)
    weight = None if sample_weight is None else as_weight(sample_weight, x.shape[0], start)
    if _within_range(x):
        return Block(index, start, x, weight)
    _refuse_infinity(x, feature_names, where, start)
    missing_rows = _rows_with_nan(x)
    if missing_rows.any() and missing != "skip":
        raise NonFiniteDataError(_nan_message(x, missing_rows, feature_names, where, start))
    kept = np.flatnonzero(~missing_rows)
    n_skipped = x.shape[0] - kept.size
    if n_skipped:
        x = x.take(kept, axis=0)
    _refuse_overflow(x, feature_names, where)
    if not n_skipped:
        return Block(index, start, x, weight)
    return Block(index, start, x, None if weight is None else weight[kept], kept, n_skipped)


def as_float64(rows: AnyArray, feature_names: Sequence[str], where: str) -> ArrayND:
    """float64 in native byte order, C order, aligned and writeable (one memory layout, hence one compiled kernel).

    No copy is made of rows that are so already. Refuses what float64 cannot hold.
    """
    if rows.ndim != 2 or rows.shape[1] != len(feature_names):
        raise SchemaError(f"{where}: expected rows of shape (n, {len(feature_names)}), got {rows.shape}")
    _refuse_dtype(rows.dtype, where)
    _refuse_large_integers(rows, feature_names, where)
    return np.require(rows, np.float64, ("C_CONTIGUOUS", "ALIGNED", "WRITEABLE"))


def as_weight(weight: AnyArray, n_rows: int, start: int) -> ArrayN:
    """Check row weights, (n) or (n 1): as many as rows, finite, not negative."""
    _refuse_dtype(weight.dtype, "sample_weight")
    values: FloatArray = np.require(weight, np.float64, ("C_CONTIGUOUS", "ALIGNED", "WRITEABLE")).reshape(-1)
    if values.shape[0] != n_rows:
        raise DataError(f"sample_weight has {values.shape[0]} values for {n_rows} rows from row {start} on; one weight per row is needed")
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if bad.size:
        first = values[bad[0]]
        found = "negative" if first < 0 else "NaN" if np.isnan(first) else "infinite"
        raise DataError(
            f"sample_weight must be finite and >= 0: the weight of row {start + int(bad[0])} is {found}, and {bad.size} weights of"
            f" {n_rows} from row {start} on are refused. Use 0 for rows that are to be left out."
        )
    return values


def _within_range(x: ArrayND) -> bool:
    # NaN carries through both and compares false, so two quick passes without a temporary array see everything.
    return x.size == 0 or bool(x.min() >= -LARGEST and x.max() <= LARGEST)


def _refuse_dtype(dtype: np.dtype[Any], where: str) -> None:
    if dtype.kind == "c":
        raise SchemaError(f"{where}: Complex data not supported; dtype is {dtype}. Pass real columns.")
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise SchemaError(f"{where}: dtype {dtype} is not accepted; real numeric dtypes up to float64 are. Convert the columns first.")


def _refuse_large_integers(rows: AnyArray, names: Sequence[str], where: str) -> None:
    if rows.dtype.kind not in "iu" or rows.dtype.itemsize < 8 or not rows.size:
        return
    integers: npt.NDArray[Any] = rows
    largest = np.maximum(np.abs(integers.min(axis=0).astype(object)), np.abs(integers.max(axis=0).astype(object)))
    for name, value in zip(names, largest, strict=True):
        if int(value) > EXACT_INTEGER:
            raise DataError(
                f"{where}: column {name!r} holds integers beyond 2**53 (largest magnitude {value}), which are not exact in float64."
                " Subtract an offset or convert the column to float64 yourself if the loss is intended."
            )


def _rows_with_nan(x: ArrayND) -> npt.NDArray[np.bool_]:
    # Column by column: reducing a bool table over its short last axis takes four times as long.
    found = np.zeros(x.shape[0], bool)
    for column in x.T:
        found |= np.isnan(column)
    return found


def _refuse_infinity(x: ArrayND, names: Sequence[str], where: str, start: int) -> None:
    infinite = np.isinf(x)
    if infinite.any():
        raise NonFiniteDataError(
            f"Input X contains infinity: {int(infinite.sum())} values in {where}, the first in {_place(infinite, names, start)}."
            " Replace infinities by nulls or remove these rows."
        )


def _nan_message(x: ArrayND, missing_rows: npt.NDArray[np.bool_], names: Sequence[str], where: str, start: int) -> str:
    missing = np.isnan(x)
    return (
        f"Input X contains NaN: {int(missing.sum())} values in {int(missing_rows.sum())} rows of {where}, the first in"
        f" {_place(missing, names, start)}. missing='raise' refuses them; missing='skip' leaves their rows out and counts them."
    )


def _place(found: npt.NDArray[np.bool_], names: Sequence[str], start: int) -> str:
    row, column = divmod(int(np.argmax(found)), found.shape[1])
    return f"column {names[column]!r}, row {start + row}"


def _refuse_overflow(x: ArrayND, names: Sequence[str], where: str) -> None:
    if not _within_range(x):
        column = int(np.argmax(np.abs(x).max(axis=0)))
        raise NumericalError(
            f"{where}: column {names[column]!r} ranges from {x[:, column].min():.3g} to {x[:, column].max():.3g}; squares of such values"
            f" overflow float64 (limit {LARGEST:g}). Rescale the column."
        )
