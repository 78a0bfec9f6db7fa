"""What the formats read with pyarrow share: values as NumPy arrays, errors with the file's name. Floor 4."""

__all__ = ["as_numpy", "reading"]

import contextlib
import errno
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from streamgmm.errors import DataError, SchemaError, StorageError, StreamGMMError
from streamgmm.formats.base import Batch, leave_out


def as_numpy(batch: pa.RecordBatch, dtypes: Mapping[str, np.dtype[Any]], path: Path) -> Batch:
    """The batch's columns in the dtypes to be stored; nulls as NaN. Refuses what would be rounded."""
    return {name: _convert(batch.column(name), dtype, name, path) for name, dtype in dtypes.items()}


def _convert(values: pa.Array, dtype: np.dtype[Any], name: str, path: Path) -> Any:
    if values.null_count and dtype.kind != "f":
        raise SchemaError(f"{path}: column {name!r} holds nulls and integers beyond 2**53, which no float64 holds; {leave_out(name)}")
    try:
        return values.cast(pa.from_numpy_dtype(dtype)).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise SchemaError(f"{path}: column {name!r} ({values.type}) does not convert to {dtype}: {error}; {leave_out(name)}") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the library's and the operating system's errors into this package's, with the file's name."""
    try:
        yield
    except StreamGMMError:
        raise
    except (pa.ArrowException, EOFError, UnicodeDecodeError, OSError) as error:
        raise _translated(path, error) from error


def _translated(path: Path, error: Exception) -> StreamGMMError:
    text = " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
        return StorageError(f"cannot read {path}: {text}")
    missing = re.search(r"Column '(.*)' in include_columns does not exist", text)
    if missing:
        return SchemaError(f"{path}: no column {missing[1]!r}, which the first file has; {leave_out(missing[1])}")
    return DataError(f"{path}: {text}")
