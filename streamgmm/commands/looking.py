"""What lies at a path: a run, a model or a store, as plain data. Nothing is locked, written or decoded. Floor 8."""

__all__ = ["inspect"]

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamgmm.checkpoint import Run
from streamgmm.commands._places import kind_of, open_table
from streamgmm.commands._summaries import model_facts
from streamgmm.events import Event
from streamgmm.job import describe_source, model_at
from streamgmm.model_file import load_model, model_hash
from streamgmm.sources._locations import Location, locate
from streamgmm.sources._zarr_metadata import Node, check_codecs
from streamgmm.sources._zarr_store import member_names, node_at, nodes_at, open_store

AnyPath = str | os.PathLike[str]


def inspect(path: AnyPath, *, correlations: bool = False) -> dict[str, Any]:
    """What lies at a path, its kind under the key `kind`: "run", "model" or "store"."""
    kind = kind_of(path)
    if kind == "run":
        return {"kind": kind, **_run_facts(Run(path), correlations=correlations)}
    if kind == "model":
        return {"kind": kind, **_model_file_facts(Path(path), correlations=correlations)}
    return {"kind": "store", **_store_facts(path)}


def _model_file_facts(path: Path, *, correlations: bool) -> dict[str, Any]:
    saved = load_model(path)
    return {
        "path": str(path),
        "hash": model_hash(path),
        "log_likelihoods": list(saved.log_likelihoods),
        "provenance": dict(saved.provenance),
        **model_facts(saved.mixture, saved.feature_names, saved.units, correlations=correlations),
    }


def _run_facts(run: Run, *, correlations: bool) -> dict[str, Any]:
    record, seen = run.record(), _Warnings()
    commit = run.latest(seen)
    facts: dict[str, Any] = {
        "path": str(run.folder),
        "configuration": record.get("configuration"),
        "location": record.get("location"),
        "source": record.get("source"),
        "commits": run.numbers(),
        "warnings": seen.messages,
        "outcome": None,
        "passes": 0,
        "log_likelihoods": [],
        "held_out": None,
        "model": None,
        "hash": None,
    }
    if run.model_path.is_dir():
        saved = model_at(run.model_path)
        figures = None if saved is None else saved.provenance.get("held_out")
        facts |= {"model": str(run.model_path), "hash": model_hash(run.model_path), "held_out": figures}
    if commit is not None:
        state = commit.state
        facts |= {
            "outcome": None if state.outcome is None else state.outcome.word,
            "passes": state.passes,
            "rows": state.rows,
            "skipped": state.skipped,
            "log_likelihoods": list(state.best.log_likelihoods),
            "repairs": state.best.repairs,
            **model_facts(state.best.mixture, *_names_and_units(record, state.best.mixture.n_features), correlations=correlations),
        }
    return facts


class _Warnings:
    """An observer that keeps messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __call__(self, event: Event) -> None:
        self.messages.append(event.message)


def _names_and_units(record: Mapping[str, Any], d: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = _table(record.get("source"))
    names, units = found.get("feature_names"), found.get("units")
    plain = tuple(f"f{j}" for j in range(d))
    return (
        tuple(map(str, names)) if isinstance(names, list) and len(names) == d else plain,
        tuple(map(str, units)) if isinstance(units, list) and len(units) == d else ("",) * d,
    )


# ---- stores ----------------------------------------------------------------------------------------------------------------------


def _store_facts(path: AnyPath) -> dict[str, Any]:
    location = locate(path)
    is_folder = location.path is None or location.path.is_dir()
    store = open_store(location) if is_folder and not _is_parquet(location) else None
    node = None if store is None else node_at(store, "")
    if store is None or node is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what would be converted for a fit is of no interest here
            return {"path": location.shown, "format": "parquet", **describe_source(open_table(path))}
    if node.is_array:
        return {"path": location.shown, "format": f"zarr v{node.zarr_format} array", **_array_facts(node, location.shown)}
    nodes = {name: found for name, found in nodes_at(store, "", member_names(store, "")).items() if found.is_array}
    attributes = _attributes(node)
    listed = attributes.get("columns")
    order = [name for name in listed if name in nodes] if isinstance(listed, list) else list(nodes)
    columns = {name: _array_facts(nodes[name], name) for name in [*order, *(name for name in nodes if name not in order)]}
    rows = {facts["shape"][0] for facts in columns.values() if len(facts["shape"]) == 1}
    return {
        "path": location.shown,
        "format": f"zarr v{node.zarr_format} group",
        "rows": rows.pop() if len(rows) == 1 else None,
        "features": order,
        "columns": columns,
        "bytes_on_disk": None if location.path is None else _bytes_on_disk(location.path),
    }


def _is_parquet(location: Location) -> bool:
    return location.path is not None and not any((location.path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))


def _array_facts(node: Node, where: str) -> dict[str, Any]:
    """From the metadata document alone. Raises SecurityError for codecs that are not allowed."""
    check_codecs(node.document, where)
    document, attributes = node.document, _attributes(node)
    shards, chunks, codecs = _layout(node)
    return {
        "shape": list(node.shape),
        "dtype": str(document.get("data_type", document.get("dtype"))),
        "units": str(attributes.get("units", "")),
        "nulls": attributes.get("null_count"),
        "chunks": chunks,
        "shards": shards,
        "codecs": codecs,
    }


def _layout(node: Node) -> tuple[Any, Any, list[str]]:
    """Shards, chunks and names of the codecs, as far as the document says."""
    document = node.document
    if node.zarr_format == 2:
        filters = document.get("filters") or []
        return None, document.get("chunks"), [_codec_name(codec) for codec in [*filters, document.get("compressor")] if codec]
    grid = _table(_table(document.get("chunk_grid")).get("configuration")).get("chunk_shape")
    codecs = document.get("codecs") or []
    sharding = next((codec for codec in codecs if _codec_name(codec) == "sharding_indexed"), None)
    if sharding is None:
        return None, grid, [_codec_name(codec) for codec in codecs]
    inner = _table(_table(sharding).get("configuration"))
    return grid, inner.get("chunk_shape"), [_codec_name(codec) for codec in inner.get("codecs") or []]


def _codec_name(codec: Any) -> str:
    if isinstance(codec, str):
        return codec
    name = str(_table(codec).get("name", _table(codec).get("id")))
    inside = _table(_table(codec).get("configuration"))
    return f"{name}({inside['cname']})" if name == "blosc" and "cname" in inside else name


def _attributes(node: Node) -> dict[str, Any]:
    return _table(node.document.get("attributes"))


def _table(value: Any) -> dict[str, Any]:
    """What should be a table and, in a damaged document, may be anything."""
    return value if isinstance(value, dict) else {}


def _bytes_on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
