"""CSV files, gzipped or not, as a table to be stored. Floor 4.

CSV declares no dtypes, and the first rows prove little: a column of integers may hold a fraction or a null a million rows later. So every
number becomes float64, which holds integers up to 2**53 exactly. Only a column whose first block holds larger integers (identifiers of
sources) stays int64; a null or a fraction in it later is refused, not rounded. Which columns are numbers is taken from the first block
of the first file. Lines before the header that begin with '#' are skipped: archives put a description there.
"""

__all__ = ["CSV"]

import contextlib
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from streamgmm.column_names import name_fault
from streamgmm.errors import SchemaError
from streamgmm.formats._arrow import as_numpy, reading
from streamgmm.formats.base import AbstractFormat, Batch, Table, choose_columns, leave_out, refuse_duplicates

BLOCK_BYTES = 2**23
EXACT_INTEGER = 2**53
LONGEST_LINE = 2**20


@final
class CSV(AbstractFormat):
    """Numeric columns of comma-separated text with one header line."""

    def open(self, paths: Sequence[Path], columns: Sequence[str] | None, null_values: Sequence[str]) -> Table:
        """See AbstractFormat."""
        sample = _first_block(paths[0], null_values)
        faults = {name: name_fault(name) or _text_fault(sample.column(name)) for name in sample.schema.names}
        names, left_out = choose_columns(columns, faults, paths[0])
        types = {name: _type(sample.column(name)) for name in names}
        dtypes = {name: np.dtype(np.int64 if kind == pa.int64() else np.float64) for name, kind in types.items()}
        options = pa_csv.ConvertOptions(include_columns=names, column_types=types, null_values=list(null_values))
        return Table(dtypes, left_out, lambda: _batches(paths, dtypes, options))


def _first_block(path: Path, null_values: Sequence[str]) -> pa.RecordBatch:
    """The first block, with types as pyarrow infers them from it."""
    options = pa_csv.ConvertOptions(null_values=list(null_values), strings_can_be_null=True)
    with reading(path), _open(path, options) as reader:
        refuse_duplicates(reader.schema.names, path)
        return next(iter(reader), None) or pa.RecordBatch.from_pylist([], schema=reader.schema)


def _text_fault(values: pa.Array) -> str:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    if any(test(values.type) for test in tests):
        return ""
    example = next((value for value in values.to_pylist() if value is not None and not _is_number(value)), None)
    return f"it holds {str(example)!r}, not a number; if that means a missing number, add it to null_values"


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _type(values: pa.Array) -> pa.DataType:
    if pa.types.is_boolean(values.type):
        return pa.bool_()
    if pa.types.is_integer(values.type) and len(values) and not values.null_count:
        numbers = values.to_numpy()
        if max(int(numbers.max()), -int(numbers.min())) > EXACT_INTEGER:
            return pa.int64()
    return pa.float64()


def _batches(paths: Sequence[Path], dtypes: Mapping[str, np.dtype[Any]], options: pa_csv.ConvertOptions) -> Iterator[Batch]:
    for path in paths:
        with reading(path), _named_columns(path), _open(path, options) as reader:
            for batch in reader:
                yield as_numpy(batch, dtypes, path)


@contextlib.contextmanager
def _named_columns(path: Path) -> Iterator[None]:
    """pyarrow counts columns where it should name them."""
    try:
        yield
    except pa.ArrowInvalid as error:
        place = re.match(r"In CSV column #(\d+): (.*)", str(error))
        if not place:
            raise
        with _open(path, pa_csv.ConvertOptions()) as reader:
            name = reader.schema.names[int(place[1])]
        hint = f"if that means a missing number, add it to null_values; else {leave_out(name)}"
        raise SchemaError(f"{path}: column {name!r}: {place[2]} (the header is row 1); {hint}") from error


def _open(path: Path, options: pa_csv.ConvertOptions) -> pa_csv.CSVStreamingReader:
    # One thread parses as fast here, and only then do errors name the row.
    return pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES, skip_rows=_comment_lines(path), use_threads=False),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=options,
    )


def _comment_lines(path: Path) -> int:
    count = 0
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        while file.readline(LONGEST_LINE).startswith(b"#"):
            count += 1
    return count
