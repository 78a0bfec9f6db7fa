"""Models at work: labels, the likelihood of a table, rows drawn from a model. Floor 8."""

__all__ = ["predict", "sample", "score"]

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from streamgmm.arrays import ArrayND
from streamgmm.column_store import check_target
from streamgmm.commands._places import checked_path, local_store, model_path_of, open_table
from streamgmm.commands.where import Where
from streamgmm.errors import ConfigError, SchemaError
from streamgmm.events import ignore
from streamgmm.job import score_table
from streamgmm.labels import label_blocks, write_labels
from streamgmm.model_file import SavedModel, load_model, model_hash
from streamgmm.passes import Observer
from streamgmm.pending_folder import storage_errors
from streamgmm.sources.base import DEFAULT_BLOCK_ROWS, AbstractSource

AnyPath = str | os.PathLike[str]
ROWS_AT_ONCE = 65_536


def predict(
    model: AnyPath,
    store: AnyPath,
    out: str,
    *,
    features: Sequence[str] | None = None,
    missing: str | None = None,
    block_rows: int = DEFAULT_BLOCK_ROWS,
    overwrite: bool = False,
    where: Where | None = None,
    observe: Observer = ignore,
) -> dict[str, Any]:
    """Write the most probable component of every row: as column `out` of the store, or, where `out` is a path, as a new store.

    model: a model or the run that made it. features: columns of the store, in the model's order. missing: None for the policy that
    the model was fitted with; rows left out get the label -1.
    """
    path, saved, source = _model_and_rows(model, store, features, None, missing, block_rows)
    column = not _is_path(out)
    target = local_store(store) if column else check_target(out, overwrite=overwrite)
    attributes = {"long_name": "most probable component; -1: a row with a missing value", "model_hash": model_hash(path)}
    with (where or Where()).open() as executor:
        pieces = label_blocks(saved.mixture, source, executor, observe)
        rows = write_labels(pieces, target if column else None, out if column else target, attributes=attributes, overwrite=overwrite)
    return {"labels": str(target / out if column else target / "label"), "rows": rows, "model_hash": attributes["model_hash"]}


def score(
    model: AnyPath,
    store: AnyPath,
    *,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    missing: str | None = None,
    block_rows: int = DEFAULT_BLOCK_ROWS,
    where: Where | None = None,
    observe: Observer = ignore,
) -> dict[str, Any]:
    """Log-likelihood of a table under a model: total and mean per unit of row weight."""
    path, saved, source = _model_and_rows(model, store, features, weight, missing, block_rows)
    with (where or Where()).open() as executor:
        scores = score_table(saved.mixture, source, executor, observe)
    return {**scores, "n_parameters": saved.mixture.n_parameters, "model_hash": model_hash(path)}


def sample(model: AnyPath, n: int, *, seed: int = 0, out: AnyPath | TextIO, overwrite: bool = False) -> dict[str, Any]:
    """Draw n rows from a model, as CSV with a header, into a file or an open stream. The same seed gives the same rows."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 0 or seed < 0:
        raise ConfigError(f"n and seed must be whole numbers >= 0, got n={n!r}, seed={seed!r}")
    path = model_path_of(model)
    saved = load_model(path)
    facts = {"rows": n, "features": list(saved.feature_names), "seed": seed, "model_hash": model_hash(path)}
    if not isinstance(out, str | os.PathLike):
        _write_csv(saved, n, seed, out)
        return {**facts, "out": None}
    target = checked_path(out)
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists already; use --overwrite (overwrite=True) or another path")
    pending = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with storage_errors(target):
        try:
            with pending.open("w", encoding="utf-8", newline="") as stream:
                _write_csv(saved, n, seed, stream)
            pending.replace(target)
        finally:
            pending.unlink(missing_ok=True)
    return {**facts, "out": str(target)}


def drawn_rows(saved: SavedModel, n: int, seed: int) -> Iterator[ArrayND]:
    """n rows in pieces, in random order within each."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, ROWS_AT_ONCE):
        rows, _ = saved.mixture.sample(min(ROWS_AT_ONCE, n - start), rng)
        yield rng.permutation(rows)


def _write_csv(saved: SavedModel, n: int, seed: int, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(saved.feature_names)
    for rows in drawn_rows(saved, n, seed):
        writer.writerows(rows.tolist())
    stream.flush()


def _model_and_rows(
    model: AnyPath, store: AnyPath, features: Sequence[str] | None, weight: str | None, missing: str | None, block_rows: int
) -> tuple[Path, SavedModel, AbstractSource]:
    path = model_path_of(model)
    saved = load_model(path)
    names = saved.feature_names if features is None else features
    if len(names) != saved.mixture.n_features:
        raise SchemaError(f"{len(names)} features for a model of {saved.mixture.n_features}: {', '.join(saved.feature_names)}")
    policy = missing or _policy(saved)
    return path, saved, open_table(store, names, weight, policy, block_rows)


def _policy(saved: SavedModel) -> str:
    configuration = saved.provenance.get("configuration")
    found = configuration.get("missing") if isinstance(configuration, dict) else None
    return found if found in ("raise", "skip") else "raise"


def _is_path(out: str) -> bool:
    """A path has a separator or the ending of a store; anything else is the name of a column."""
    return os.sep in out or out.endswith(".zarr")
