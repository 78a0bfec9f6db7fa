"""Stores from files, and a whole example from nothing. Floor 8."""

__all__ = ["ingest", "manifest", "quickstart"]

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamgmm.column_store import DEFAULT_CHUNK_ROWS, ColumnStoreWriter
from streamgmm.commands._places import checked_path, local_store
from streamgmm.commands.studying import study, unseen
from streamgmm.commands.where import Where
from streamgmm.errors import ConfigError, DataError
from streamgmm.events import Event, ignore
from streamgmm.executors.base import never
from streamgmm.ingest import ingest as ingest_files
from streamgmm.manifest import MANIFEST_NAME, array_folders, scan_files, write_manifest
from streamgmm.mock_survey import mock_survey
from streamgmm.passes import Observer
from streamgmm.pending_folder import storage_errors
from streamgmm.sources._zarr_keys import absent_chunks
from streamgmm.sources._zarr_store import nothing_at

AnyPath = str | os.PathLike[str]

QUICKSTART_ROWS = 300_000
QUICKSTART_FIT: dict[str, Any] = {"n_components": 8, "missing": "skip", "seed": 0, "tol": 1e-5}


def ingest(
    files: Sequence[AnyPath],
    out: AnyPath,
    *,
    columns: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    null_values: Sequence[str] = ("null", ""),
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
    overwrite: bool = False,
    observe: Observer = ignore,
) -> dict[str, Any]:
    """Write Parquet or CSV files into a column store."""
    began = time.monotonic()

    def progress(rows: int, of: int | None) -> None:
        details = {"task": "ingest", "rows": rows, "of": of, "seconds": time.monotonic() - began}
        observe(Event("reading", f"ingest: {rows:,} rows", details))

    report = ingest_files(
        files,
        checked_path(out),
        columns=columns,
        units=units,
        null_values=null_values,
        chunk_rows=chunk_rows,
        overwrite=overwrite,
        progress=progress,
    )
    return {
        "store": str(report.path),
        "rows": report.rows,
        "columns": list(report.columns),
        "nulls": dict(report.nulls),
        "bytes": report.bytes,
        "left_out": dict(report.left_out),
    }


def manifest(store: AnyPath, *, overwrite: bool = False) -> dict[str, Any]:
    """Describe every chunk file of a local store as it is now, in a manifest beside each array; later reads are compared with it.

    Raises ConfigError (a manifest is there), DataError (no arrays), ChunkMissingError (a store that says it is whole and is not).
    """
    began, path = time.monotonic(), local_store(store)
    if not path.is_dir():
        raise DataError(nothing_at(path))
    folders = list(array_folders(path))
    if not folders:
        raise DataError(f"{path} holds no Zarr arrays, so there is nothing to describe")
    there = next((folder / MANIFEST_NAME for folder in folders if (folder / MANIFEST_NAME).exists()), None)
    if there is not None and not overwrite:
        raise ConfigError(f"{there} exists already; use --overwrite to describe the store as it is now")
    absent = [absent_chunks(path, folder) for folder in folders]
    made = [scan_files(folder) for folder in folders]
    for folder, described in zip(folders, made, strict=True):
        write_manifest(folder, described, overwrite=overwrite)
    entries = [entry for described in made for entry in described.files.values()]
    return {
        "store": str(path),
        "arrays": len(folders),
        "files": len(entries),
        "bytes": sum(entry.length for entry in entries),
        "absent": sum(absent),
        "seconds": time.monotonic() - began,
    }


def quickstart(
    out: AnyPath = "streamgmm-quickstart",
    *,
    rows: int = QUICKSTART_ROWS,
    where: Where | None = None,
    observe: Observer = ignore,
    stop_requested: Callable[[], bool] = never,
    on_plan: Callable[[dict[str, Any]], Any] = unseen,
) -> dict[str, Any]:
    """A mock survey, its column store, plan, fit, labels and picture in one folder; what is there already is not done again."""
    folder = checked_path(out)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    store = folder / "survey.zarr"
    if not (store / "zarr.json").is_file():
        observe(Event("start", f"drawing {rows:,} stars into {store}", {"rows": rows}))
        _write_survey(store, rows)
    return study(
        store, folder, title="a mock survey", where=where, observe=observe, stop_requested=stop_requested, on_plan=on_plan, **QUICKSTART_FIT
    )


def _write_survey(store: Path, rows: int) -> None:
    survey = mock_survey(rows)
    with ColumnStoreWriter(store, dict.fromkeys(survey.units, "float64"), units=survey.units) as writer:
        for block in survey.blocks():
            writer.append(block)
