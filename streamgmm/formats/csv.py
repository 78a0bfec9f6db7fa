"""CSV files, gzipped or not, as a table to be stored. Floor 4.

CSV declares no dtypes, and the first rows prove little: a column of integers may hold a fraction or a null a million rows later. So every
number becomes float64, which holds integers up to 2**53 exactly. Only a column whose first rows hold larger integers (identifiers of
sources) stays int64; a null or a fraction in it is refused, not rounded. Which columns are numbers is taken from the first rows of
the first file. Lines before the header that begin with '#' are skipped: archives put a description there.
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
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from streamgmm.column_names import name_fault
from streamgmm.errors import SchemaError
from streamgmm.formats._arrow import as_numpy, reading
from streamgmm.formats.base import AbstractFormat, Batch, Table, choose_columns, leave_out, refuse_duplicates

SAMPLE_BYTES = 2**23
BLOCK_BYTES = 2**20  # pyarrow reads some thirty blocks ahead
EXACT_INTEGER = 2**53
LONGEST_LINE = 2**20


@final
class CSV(AbstractFormat):
    """Numeric columns of comma-separated text with one header line."""

    def open(self, paths: Sequence[Path], columns: Sequence[str] | None, null_values: Sequence[str]) -> Table:
        """See AbstractFormat."""
        sample = _first_rows(paths[0], null_values)
        faults = {name: name_fault(name) or _fault(sample.column(name)) for name in sample.column_names}
        names, left_out = choose_columns(columns, faults, paths[0])
        types = {name: _type(sample.column(name)) for name in names}
        dtypes = {name: np.dtype(np.int64 if kind == pa.int64() else np.float64) for name, kind in types.items()}
        options = pa_csv.ConvertOptions(include_columns=names, column_types=types, null_values=list(null_values))
        return Table(dtypes, left_out, lambda: _batches(paths, dtypes, options))


def _first_rows(path: Path, null_values: Sequence[str]) -> pa.Table:
    """The first rows, with types as pyarrow infers them. Broken rows are passed over here: reading names them later."""
    with reading(path):
        with pa.input_stream(path) as stream:
            text = stream.read(SAMPLE_BYTES)
        table = pa_csv.read_csv(
            pa.BufferReader(text if len(text) < SAMPLE_BYTES else text[: text.rfind(b"\n") + 1]),
            read_options=pa_csv.ReadOptions(skip_rows=_comment_lines(path)),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip"),
            convert_options=pa_csv.ConvertOptions(null_values=list(null_values), strings_can_be_null=True),
        )
        refuse_duplicates(table.column_names, path)
    return table


def _fault(values: pa.ChunkedArray) -> str:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    if any(test(values.type) for test in tests):
        return (
            "it holds nulls and integers beyond 2**53, which no float64 holds" if values.null_count and _is_beyond_float64(values) else ""
        )
    example = next((value for value in values.to_pylist() if value is not None and not _is_number(value)), None)
    return f"it holds {str(example)!r}, not a number; if that means a missing number, add it to null_values"


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _type(values: pa.ChunkedArray) -> pa.DataType:
    if pa.types.is_boolean(values.type):
        return pa.bool_()
    return pa.int64() if _is_beyond_float64(values) else pa.float64()


def _is_beyond_float64(values: pa.ChunkedArray) -> bool:
    if not pa.types.is_integer(values.type) or values.null_count == len(values):
        return False
    limits = pc.min_max(values).as_py()
    return bool(max(limits["max"], -limits["min"]) > EXACT_INTEGER)


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
