"""Stores from files, and a whole example from nothing. Floor 8."""

__all__ = ["ingest", "quickstart"]

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr

from streamgmm.column_store import DEFAULT_CHUNK_ROWS, ColumnStoreWriter
from streamgmm.commands._places import checked_path, open_table
from streamgmm.commands.applying import predict
from streamgmm.commands.fitting import fit
from streamgmm.commands.planning import plan
from streamgmm.commands.where import Where
from streamgmm.events import Event, ignore
from streamgmm.executors.base import never
from streamgmm.fit import Observer, sample_for_starts
from streamgmm.ingest import ingest as ingest_files
from streamgmm.mock_survey import mock_survey
from streamgmm.model_file import load_model
from streamgmm.pending_folder import storage_errors

AnyPath = str | os.PathLike[str]

QUICKSTART_ROWS = 300_000
QUICKSTART_FIT: dict[str, Any] = {"n_components": 8, "missing": "skip", "seed": 0}


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
) -> dict[str, Any]:
    """A mock survey, its column store, plan, fit, labels and picture in one folder; what is there already is not done again."""
    folder = checked_path(out)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    store, run, picture = folder / "survey.zarr", folder / "run", folder / "picture.png"
    if not (store / "zarr.json").is_file():
        observe(Event("start", f"drawing {rows:,} stars into {store}", {"rows": rows}))
        _write_survey(store, rows)
    planned = plan(store, where=where, **QUICKSTART_FIT)
    fitted = fit(store, run, where=where, observe=observe, stop_requested=stop_requested, **QUICKSTART_FIT)
    facts: dict[str, Any] = {"out": str(folder), "store": str(store), "plan": planned, "fit": fitted, "labels": None, "picture": None}
    if fitted["model"] is None:
        return facts
    if _labelled_by(store / "label") != fitted["hash"]:
        observe(Event("start", "labelling every star", {}))
        predict(run, store, "label", overwrite=True, where=where, observe=observe)
    facts["labels"] = str(store / "label")
    facts["picture"] = _picture(picture, store, run, observe)
    return facts


def _write_survey(store: Path, rows: int) -> None:
    survey = mock_survey(rows)
    with ColumnStoreWriter(store, dict.fromkeys(survey.units, "float64"), units=survey.units) as writer:
        for block in survey.blocks():
            writer.append(block)


def _labelled_by(column: Path) -> str:
    """Hash of the model that made a column of labels, "" where there is none."""
    if not (column / "zarr.json").is_file():
        return ""
    return str(zarr.open_array(str(column), mode="r", zarr_format=3).attrs.get("model_hash", ""))


def _picture(path: Path, store: Path, run: Path, observe: Observer) -> str | None:
    if importlib.util.find_spec("matplotlib") is None:
        observe(Event("warning", "no picture: matplotlib is not installed (pip install 'streamgmm[plot]')", {}))
        return None
    observe(Event("start", "drawing the picture", {}))
    source = open_table(store, None, None, QUICKSTART_FIT["missing"])
    save_picture = importlib.import_module("streamgmm.picture").save_picture
    save_picture(path, load_model(run / "model.zarr"), sample_for_starts(source, 0), title=f"a mock survey of {source.n_rows:,} stars")
    return str(path)
