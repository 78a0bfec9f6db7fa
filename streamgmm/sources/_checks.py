"""What every kind of source refuses before a row is read: shapes, dtypes, names. Floor 4.

Only shape, dtype and names are looked at, so it costs nothing on a table that does not fit in memory. Values are checked block by
block in `streamgmm.block`. Wordings that scikit-learn users know are kept.
"""

__all__ = [
    "NUMERIC",
    "check_dtype",
    "check_names",
    "check_shape",
    "check_table",
    "chosen_columns",
    "column_names",
    "default_names",
    "refuse_alike",
    "refuse_repeated",
]

import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from streamgmm.errors import ConfigError, SchemaError, nearest
from streamgmm.safe_paths import check_member

NUMERIC = "bool, integers, float16, float32 and float64"


def check_table(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check a 2-D table that one array holds."""
    check_dtype(dtype)
    check_shape(shape)


def check_shape(shape: tuple[int, ...]) -> None:
    """Two axes, at least one row and one column."""
    if len(shape) < 2:
        kind = "1D array" if shape else "scalar array"
        raise SchemaError(
            f"Expected 2D array, got {kind} instead: shape {shape}. Reshape your data either using array.reshape(-1, 1) if your data has"
            " a single feature or array.reshape(1, -1) if it contains a single sample."
        )
    if len(shape) > 2:
        raise SchemaError(
            f"Found array with dim {len(shape)}, shape {shape}; expected 2: axis 0 counts the rows, axis 1 the columns."
            " Reshape it, for example with X.reshape(X.shape[0], -1)."
        )
    for axis, noun in enumerate(("sample(s)", "feature(s)")):
        if shape[axis] == 0:
            raise SchemaError(f"Found array with 0 {noun} (shape={shape}) while a minimum of 1 is required.")


def check_dtype(dtype: np.dtype[Any], column: str | None = None) -> None:
    """Real numbers that float64 holds. bool and float16 are taken with a warning."""
    where = "the table" if column is None else f"column {column!r}"
    if dtype.names is not None:
        raise SchemaError(f"{where} has a structured dtype with fields {', '.join(dtype.names)}: select columns of it and stack them")
    if dtype.kind == "c":
        raise SchemaError(f"Complex data not supported: {where} has dtype {dtype}. Pass real and imaginary part as two columns.")
    if dtype.kind not in "buif":
        raise SchemaError(
            f"{where} has dtype {dtype}, could not convert it to numbers; {NUMERIC} are accepted. Convert it or leave it out."
        )
    if dtype.itemsize > 8:
        raise SchemaError(f"{where} has dtype {dtype}, wider than float64, in which all is computed; {NUMERIC} are accepted. Convert it.")
    if dtype.kind == "b" or dtype == np.float16:
        warnings.warn(f"{where} has dtype {dtype}; it is converted to float64", UserWarning, stacklevel=3)


def default_names(n_features: int) -> tuple[str, ...]:
    """f0, f1, ..."""
    return tuple(f"f{j}" for j in range(n_features))


def column_names(names: Any, n_features: int) -> tuple[str, ...]:
    """Names as the table gives them where all are strings (scikit-learn's rule), else f0, f1, ..."""
    given = tuple(names) if names is not None else ()
    if len(given) != n_features or not all(isinstance(name, str) for name in given):
        return default_names(n_features)
    return tuple(str(name) for name in given)


def check_names(names: Sequence[str], n_features: int) -> tuple[str, ...]:
    """Names given by the caller: one per column, none repeated."""
    found = tuple(str(name) for name in names)
    if len(found) != n_features:
        raise SchemaError(f"{len(found)} feature names for {n_features} columns")
    refuse_repeated(found)
    return found


def refuse_repeated(names: Sequence[str]) -> None:
    """No column twice."""
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise SchemaError(f"column {repeated[0]!r} is named twice; name every column once")


def refuse_alike(names: Sequence[str]) -> None:
    """No two names that differ only in case or in Unicode form: people and file systems mix them up."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise SchemaError(f"columns {other!r} and {name!r} differ only in case or Unicode form; rename one, or select only one of them")


def chosen_columns(features: Sequence[str] | None, numeric: Sequence[str], available: Sequence[str], where: str) -> tuple[str, ...]:
    """Columns to read from a store: those asked for, or all numeric ones. Raises SecurityError and SchemaError."""
    if isinstance(features, str):
        raise ConfigError(f"features must be a list of column names, got the text {features!r}")
    if features is not None and not len(features):
        raise ConfigError("features must name at least one column; None takes every numeric column")
    names = tuple(numeric if features is None else features)
    for name in names:
        check_member(str(name))
        if name not in available:
            raise SchemaError(f"{where} has no column {name!r}; its columns are {_listed(available)}{nearest(str(name), available)}")
    if not names:
        raise SchemaError(f"{where} has no numeric column to read; its columns are {_listed(available)}")
    refuse_repeated(names)
    refuse_alike(names)
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "not listed"
