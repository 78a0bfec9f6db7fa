"""The key list of an array against its grid: which chunks are absent before a row is read. Floor 4.

A chunk that is not in the store is read as the fill value, and stores may leave out chunks of nothing else. So absence is an error where
the writer says that all chunks were written (a store of `streamgmm ingest`) or a manifest lists the chunk, and a warning elsewhere. An
array whose every chunk is there at the opening is complete: what is absent later is gone.
"""

__all__ = ["absent_chunks", "check_keys", "warn_unverified"]

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync
from zarr.storage import LocalStore

from streamgmm.errors import DataChangedError, StorageError
from streamgmm.manifest import without_attributes
from streamgmm.sources._failures import guarded
from streamgmm.sources._zarr_chunks import ChunkChecks, chunk_checks, has_checksum, inner_absent
from streamgmm.sources._zarr_store import node_at, open_array, travels

MOST_KEYS = 1_000_000  # a longer listing is not waited for
MOST_INDEXES = 100_000  # shards whose index is looked at


def check_keys(array: "zarr.Array[Any]", document: Mapping[str, Any], what: str, *, all_written: bool) -> bool:
    """Whether every chunk of the array is there; warns of those absent that may be. document: its metadata.

    Raises ChunkMissingError, StorageError, DataChangedError (metadata that are not those of its manifest).
    """
    checks = chunk_checks(array, what, complete=all_written)
    if checks.manifest is not None:
        _refuse_other_metadata(without_attributes(document), checks.manifest.metadata, what)
    present = _present(array, what)
    if present is None:
        return all_written
    grid = _grid(checks)
    if checks.manifest is not None:
        _refuse_absent(checks, (key for key in checks.manifest.files if key not in present), "")
        return all_written or len(checks.manifest.files) >= prod(grid)
    present = {key for key in present if _in_grid(key, grid, array)}
    if len(present) < prod(grid):
        _absent(checks, _first_absent(checks, present), f" ({prod(grid) - len(present)} of {prod(grid)} chunks are absent)")
        return False
    return _inner_complete(checks, present)


def absent_chunks(store: Path, folder: Path) -> int:
    """Chunks of the array in a folder of a local store that are not there. Raises ChunkMissingError where its writer says they are."""
    opened = LocalStore(store.absolute(), read_only=True)
    path = "" if folder == store else folder.relative_to(store).as_posix()
    node, root = node_at(opened, path), node_at(opened, "")
    assert node is not None
    attributes = (root or node).document.get("attributes") or {}
    array = open_array(opened, path, node)
    checks = ChunkChecks(f"array {path or '/'}", array, attributes.get("all_chunks_written") is True, None, sealed=False)
    grid = _grid(checks)
    present = {key for key in _present(array, checks.what) or () if _in_grid(key, grid, array)}
    if len(present) < prod(grid) and checks.complete:
        raise checks.missing(_first_absent(checks, present))
    return prod(grid) - len(present)


def warn_unverified(arrays: Sequence[tuple[str, "zarr.Array[Any]"]], shown: str) -> None:
    """Warn once of a store whose damage a first read cannot find: no checksum among the codecs, and no manifest."""
    bare = [what for what, array in arrays if not has_checksum(array) and chunk_checks(array, what, complete=False).manifest is None]
    if bare and all(travels(array.store) for _, array in arrays):
        listed = ", ".join(bare[:5]) + (f" and {len(bare) - 5} more" if len(bare) > 5 else "")
        warnings.warn(
            f"no codec checksum and no manifest in {shown} for {listed}: the first read of a damaged chunk is not noticed."
            f" `streamgmm manifest {shown}` records what its files hold now.",
            stacklevel=2,
        )


def _refuse_other_metadata(now: Mapping[str, Any], then: Mapping[str, Any], what: str) -> None:
    changed = [key for key in sorted({*now, *then} - {"consolidated_metadata"}) if now.get(key) != then.get(key)]
    if changed:
        said = ", ".join(f"{key} was {then.get(key)} and is {now.get(key)}" for key in changed)
        raise DataChangedError(
            f"{what} is not what its manifest describes: {said}. If the change was meant, `streamgmm manifest STORE --overwrite` describes"
            " the store as it is now."
        )


def _absent(checks: ChunkChecks, key: str, more: str) -> None:
    if checks.must_be_there(key):
        raise checks.missing(key, more)
    warnings.warn(
        f"{checks.what}: chunk {key} is not in the store{more}; {checks.rows_of(key)} would be read as fill value"
        f" {checks.array.fill_value}. Stores leave out chunks of nothing but that value; if these are not, the store is damaged.",
        stacklevel=2,
    )


def _refuse_absent(checks: ChunkChecks, absent: Iterator[str], more: str) -> None:
    key = next(absent, None)
    if key is not None:
        raise checks.missing(key, more)


def _inner_complete(checks: ChunkChecks, present: set[str]) -> bool:
    """Whether the chunks inside the shards of a local array are there too; of other stores, and of many shards, it is not asked."""
    array = checks.array
    if array.shards is None:
        return True
    if not isinstance(array.store, LocalStore) or len(present) > MOST_INDEXES:
        return checks.complete
    folder = array.store.root / array.path
    for key in sorted(present):
        absent = inner_absent(array, key, _end_of(folder / key, checks.index_bytes))
        if absent:
            _absent(checks, key, f" as a whole: chunk {absent[0]} of the {checks.chunks_in_file} inside this shard is absent")
            return False
    return True


def _present(array: "zarr.Array[Any]", what: str) -> set[str] | None:
    """Keys of what lies in the folder of an array, None where the store does not list, or too much lies there."""
    if isinstance(array.store, LocalStore):
        folder = array.store.root / array.path
        found: Iterable[str] = itertools.islice(guarded(lambda: _files(folder), what), MOST_KEYS + 1)
    else:
        try:
            found = sync(_listed(array.store, f"{array.path}/" if array.path else ""))
        except Exception:  # noqa: BLE001  (whatever a store says that does not list: it can be read all the same)
            return None
    keys = set(found)
    return None if len(keys) > MOST_KEYS else keys


def _files(folder: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise StorageError(f"{error.filename} cannot be listed: {error.strerror}") from error

    for parent, _, names in os.walk(folder, onerror=refuse):
        below = Path(parent).relative_to(folder)
        yield from ((below / name).as_posix() for name in names)


async def _listed(store: Any, prefix: str) -> list[str]:
    keys: list[str] = []
    async for key in store.list_prefix(prefix):
        keys.append(key.removeprefix(prefix))
        if len(keys) > MOST_KEYS:
            break
    return keys


def _grid(checks: ChunkChecks) -> list[int]:
    return [-(-int(n) // rows) for n, rows in zip(checks.array.shape, checks.file_shape, strict=True)]


def _first_absent(checks: ChunkChecks, present: set[str]) -> str:
    grid = _grid(checks)  # of any size: its keys are counted up, never listed
    places = (tuple(int(n) for n in np.unravel_index(number, grid)) for number in itertools.count())
    return next(key for key in map(checks.array.metadata.encode_chunk_key, places) if key not in present)


def _in_grid(key: str, grid: Sequence[int], array: "zarr.Array[Any]") -> bool:
    numbers = [int(part) for part in key.replace(".", "/").split("/") if part.isdecimal()]
    inside = len(numbers) == len(grid) and all(number < n for number, n in zip(numbers, grid, strict=True))
    return inside and array.metadata.encode_chunk_key(tuple(numbers)) == key


def _end_of(path: Path, n_bytes: int) -> bytes:
    """The last bytes of a regular file; nothing of what is none, which is refused when it is read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - n_bytes, 0))
            return file.read()
    except OSError:
        return b""
