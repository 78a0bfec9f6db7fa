"""Stores from files, and a whole example from nothing. Floor 8."""

__all__ = ["ingest", "quickstart"]

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamgmm.column_store import DEFAULT_CHUNK_ROWS, ColumnStoreWriter
from streamgmm.commands._places import checked_path
from streamgmm.commands.studying import study, unseen
from streamgmm.commands.where import Where
from streamgmm.events import Event, ignore
from streamgmm.executors.base import never
from streamgmm.ingest import ingest as ingest_files
from streamgmm.mock_survey import mock_survey
from streamgmm.passes import Observer
from streamgmm.pending_folder import storage_errors

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
