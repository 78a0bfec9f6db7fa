"""Foreign files to column stores. Floor 5.

Files are read in batches: memory is bounded by a few batches and one chunk per column, never by the files. What a kind of file is like is
in formats/, what a column store is like in column_store.py; here the files are found and the one is poured into the other.
"""

__all__ = ["IngestReport", "ingest"]

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, final

from streamgmm import registry
from streamgmm.column_store import DEFAULT_CHUNK_ROWS, ColumnStoreWriter, check_target
from streamgmm.errors import ConfigError, DataError, SchemaError, nearest
from streamgmm.formats.base import AbstractFormat, listed

SUFFIXES = {".parquet": "parquet", ".parq": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv"}
NOT_ROWS = "data_thumbnail.parquet"  # a HATS catalogue repeats some of its rows there

AnyPath = str | PathLike[str]


@final
@dataclass(frozen=True)
class IngestReport:
    """What became of the files. nulls: NaN per column, the files' own NaN among them. bytes: on disk. left_out: column -> reason."""

    path: Path
    rows: int
    columns: tuple[str, ...]
    nulls: Mapping[str, int]
    bytes: int
    left_out: Mapping[str, str]


def ingest(
    files: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    columns: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    null_values: Sequence[str] = ("null", ""),
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> IngestReport:
    """Write files, folders or glob patterns of one kind into one column store.

    columns: None for every numeric column; others are then left out and reported, and refused where named. units: column -> unit, where
    the files do not say or say otherwise. null_values: spellings of a missing number in text. progress: called after each batch with the
    rows done and the rows in all, where known.

    Raises ConfigError, SchemaError, DataError, StorageError; nothing new is left behind then.
    """
    given = [files] if isinstance(files, str | PathLike) else list(files)
    paths = _input_files(given)
    _refuse_overlap([*given, *paths], Path(out).resolve())
    target = check_target(out, overwrite=overwrite)
    table = _format(paths).open(paths, columns, null_values)
    _check_units(units or {}, table.dtypes)
    all_units = {**table.units, **(units or {})}
    with ColumnStoreWriter(target, table.dtypes, units=all_units, chunk_rows=chunk_rows, overwrite=overwrite) as store:
        for batch in table.batches():
            store.append(batch)
            if progress:
                progress(store.n_rows, table.n_rows)
        if store.n_rows == 0:
            raise DataError(f"{listed(paths)}: no rows; a store needs at least one")
    n_bytes = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    return IngestReport(store.path, store.n_rows, tuple(table.dtypes), store.null_counts, n_bytes, table.left_out)


def _input_files(given: Sequence[AnyPath]) -> list[Path]:
    paths = [path for item in given for path in _expand(item)]
    if not paths:
        raise ConfigError("no input files; name files, folders or patterns")
    if len({path.resolve() for path in paths}) < len(paths):
        twice = sorted({str(path) for path in paths if sum(path.resolve() == other.resolve() for other in paths) > 1})
        raise ConfigError(f"files given twice would give their rows twice: {listed(twice)}")
    return paths


def _expand(item: AnyPath) -> list[Path]:
    path = Path(item)
    if path.is_dir():
        return _files_of_folder(path)
    if path.is_file():
        return [path]
    if path.exists():
        raise DataError(f"{path} is neither a file nor a folder")
    found = sorted(Path(name) for name in glob.glob(str(item), recursive=True))  # noqa: PTH207  # a Path takes no absolute patterns
    if not found:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file or folder, and no pattern that fits one{nearest(path.name, siblings)}")
    return [file for entry in found for file in _expand(entry)]


def _files_of_folder(folder: Path) -> list[Path]:
    """Parquet files of a folder tree, else its CSV files: a HATS catalogue has small CSV files beside its rows."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
    rows = [file for file in files if file.name != NOT_ROWS]
    chosen = [file for file in rows if _kind(file) == "parquet"] or [file for file in rows if _kind(file) == "csv"]
    if not chosen:
        raise DataError(f"{folder}: no files of a known format in this folder; known are {', '.join(SUFFIXES)}")
    return chosen


def _kind(path: Path) -> str:
    name = path.name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), "")


def _format(paths: Sequence[Path]) -> AbstractFormat:
    """The format of all files, by their names."""
    for path in paths:
        if not _kind(path):
            raise ConfigError(f"{path}: the name does not tell the format; known are {', '.join(SUFFIXES)}")
        if _kind(path) != _kind(paths[0]):
            raise ConfigError(f"{paths[0]} and {path} are of two formats; ingest one format at a time")
    kind: AbstractFormat = registry.implementation("formats", _kind(paths[0]))()
    return kind


def _refuse_overlap(inputs: Sequence[AnyPath], target: Path) -> None:
    for item in inputs:
        path = Path(item).resolve()
        if path == target or (path.is_dir() and target.is_relative_to(path)) or path.is_relative_to(target):
            raise ConfigError(f"output {target} and input {path} overlap; write the store somewhere else")


def _check_units(units: Mapping[str, str], columns: Mapping[str, Any]) -> None:
    for name in units:
        if name not in columns:
            raise SchemaError(f"unit for a column that is not stored: {name!r}{nearest(name, columns)}. Stored: {listed(list(columns))}")
