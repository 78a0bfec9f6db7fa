"""Where things lie, and what is refused before anything is read: paths, overlaps, what a path holds. Floor 8."""

__all__ = ["checked_path", "checked_run_folder", "kind_of", "model_path_of", "open_table", "run_of"]

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamgmm.checkpoint import Run
from streamgmm.errors import CheckpointError, ConfigError, DataError
from streamgmm.pending_folder import storage_errors
from streamgmm.sources import open_source
from streamgmm.sources.base import DEFAULT_BLOCK_ROWS, AbstractSource
from streamgmm.surroundings import threads_wanted

OPENING = 16  # threads that ask a store for its metadata


def checked_path(path: str | os.PathLike[str]) -> Path:
    """A local path that the system can hold. Raises ConfigError with the system's words."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (None, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP):
            raise ConfigError(f"path {str(path)[:80]!r} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    return Path(path)


def checked_run_folder(run: str | os.PathLike[str], store: str | os.PathLike[str]) -> Path | str:
    """The folder of a run, before any row is read: one that can be made and written, and that is no part of a store. URLs stay.

    Raises ConfigError (overlaps a store), StorageError (cannot be written).
    """
    if "://" in str(run):
        return str(run)
    folder = checked_path(run)
    resolved, rows = folder.resolve(), None if "://" in str(store) else checked_path(store).resolve()
    if rows is not None and (resolved == rows or resolved.is_relative_to(rows) or rows.is_relative_to(resolved)):
        raise ConfigError(f"run folder {resolved} and store {rows} overlap; choose a run folder beside the store")
    if (resolved / "zarr.json").exists() or (resolved / ".zgroup").exists() or (resolved / ".zarray").exists():
        raise ConfigError(f"run folder {resolved} holds a Zarr store; choose another folder")
    if (resolved / "model.zarr").exists() and not (resolved / "run.json").exists():
        raise ConfigError(f"run folder {resolved} holds a model.zarr, but no run that made it; choose another folder")
    with storage_errors(folder):
        _refuse_unwritable(resolved)
    return folder


def _refuse_unwritable(folder: Path) -> None:
    """The folder, or the nearest one above it that is there, must take files."""
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def open_table(
    store: str | os.PathLike[str],
    features: Sequence[str] | None = None,
    weight: str | None = None,
    missing: str = "raise",
    block_rows: int = DEFAULT_BLOCK_ROWS,
) -> AbstractSource:
    """The rows of a store, by their address."""
    if "://" not in str(store):
        checked_path(store)
    with threads_wanted(OPENING):
        return open_source(store, features=features, weight=weight, missing=missing, block_rows=block_rows)


def kind_of(path: str | os.PathLike[str]) -> str:
    """What lies at a path: "run", "model" or "store" (anything else that rows may come from)."""
    if "://" in str(path):
        return "store"
    folder = checked_path(path)
    if (folder / "run.json").is_file():
        return "run"
    return "model" if _attributes(folder).get("format") == "streamgmm-model" else "store"


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def run_of(path: str | os.PathLike[str]) -> Run:
    """The run at a path. Raises CheckpointError where there is none."""
    run = Run(str(path) if "://" in str(path) else checked_path(path))
    if not run.exists:
        raise CheckpointError(f"nothing to resume in {path}: looked for run.json and commits/; start with streamgmm fit STORE --run {path}")
    return run


def model_path_of(path: str | os.PathLike[str]) -> Path:
    """The model at a path, which may be the run that made it. Raises CheckpointError for a run without a model yet."""
    folder = checked_path(path)
    if kind_of(folder) != "run":
        return folder
    model = Run(folder).model_path
    if not model.is_dir():
        raise CheckpointError(f"run {folder} has no model yet; streamgmm resume {folder} goes on with it")
    return model


def local_store(store: str | os.PathLike[str]) -> Path:
    """A store on this machine. Raises DataError for a URL."""
    if "://" in str(store):
        raise DataError(f"{store} is not on this machine; columns are written to local stores only")
    return checked_path(store)
