"""Zarr stores: opened after their metadata were checked, read in whole chunks. Floor 4.

Rows are read in units of a whole shard where an array is sharded, else of a chunk: anything less is fetched and decoded once per
block instead of once. It is NOT a general reader: only what a table of numbers needs.
"""

__all__ = [
    "ZarrArray",
    "consolidated_v2",
    "member_names",
    "node_at",
    "nodes_at",
    "open_array",
    "open_store",
    "refuse_changed",
    "travels",
    "unit_rows",
]

import importlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import zarr
from zarr.abc.store import Store
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore, ZipStore

from streamgmm.errors import DataChangedError, DataError, MissingDependencyError, SchemaError, SecurityError, StorageError, nearest
from streamgmm.sources._failures import guarded
from streamgmm.sources._locations import Location
from streamgmm.sources._zarr_consolidated import CONSOLIDATED_V2
from streamgmm.sources._zarr_metadata import Node, check_array, parse_node

LARGEST_UNIT = 256 * 2**20  # decoded bytes of all columns: a larger shard is read by its inner chunks
LARGEST_CHUNK = 2 * 2**30  # decoded bytes: a chunk is decoded as a whole, so a larger one is refused
ROWS_DEPEND_ON = ("shape", "data_type", "dtype", "chunk_grid", "chunks", "chunk_key_encoding", "codecs", "order")
DOCUMENTS = ("zarr.json", ".zarray", ".zgroup")

ZarrArray: TypeAlias = "zarr.Array[Any]"  # as text: before zarr 3.1.6 the class takes no parameter when run


def open_store(location: Location) -> Store:
    """The store at a location, read-only. Raises DataError where nothing is there."""
    if location.path is not None:
        if not location.path.is_dir():
            raise DataError(nothing_at(location.path))
        return LocalStore(location.path.absolute(), read_only=True)
    try:
        from_url: Any = importlib.import_module("obstore.store").from_url
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{location.shown} needs the library obstore: pip install 'streamgmm[cloud]'") from error
    try:
        return ObjectStore(from_url(location.url), read_only=True)
    except Exception as error:
        raise StorageError(f"{location.shown} cannot be opened ({type(error).__name__}); check the address and the credentials") from error


def nothing_at(path: Path) -> str:
    """That nothing is at a path, and what is next to it."""
    folder = path.parent
    beside = sorted(entry.name for entry in folder.iterdir())[:10] if folder.is_dir() else []
    listed = f"; next to it: {', '.join(beside)}{nearest(path.name, beside)}" if beside else f"; {folder} is not there or empty"
    return f"no store at {path}{listed}"


def node_at(store: Store, path: str) -> Node | None:
    """The array or group at a path inside a store, from its checked metadata documents; None where there is neither."""
    prefix = f"{path}/" if path else ""
    return parse_node({key: _get(store, prefix + key) for key in DOCUMENTS}, _shown(store, path))


def consolidated_v2(store: Store, group: str) -> bytes | None:
    """What format 2 keeps in a file of its own; None where there is none."""
    return _get(store, f"{group}/{CONSOLIDATED_V2}" if group else CONSOLIDATED_V2)


def nodes_at(store: Store, group: str, names: Iterable[str]) -> dict[str, Node]:
    """Nodes of the members of a group that are arrays or groups."""
    paths = {name: f"{group}/{name}" if group else name for name in names}
    with ThreadPoolExecutor(16) as pool:  # a bucket answers slowly, but many questions at a time
        found = zip(paths, pool.map(lambda path: node_at(store, path), paths.values()), strict=True)
        return {name: node for name, node in found if node is not None}


def member_names(store: Store, group: str) -> tuple[str, ...]:
    """Names in a group, sorted; folders that are neither array nor group included."""
    listed = guarded(lambda: sync(_list(store, group)), _shown(store, group))
    return tuple(sorted(name for name in listed if not name.startswith(".") and name != "zarr.json"))


def open_array(store: Store, path: str, node: Node) -> ZarrArray:
    """Open an array whose metadata `node` holds. Raises SecurityError (codecs, links), SchemaError (damaged metadata)."""
    where = _shown(store, path)
    check_array(node, where)
    if isinstance(store, LocalStore) and not (store.root / path).resolve().is_relative_to(store.root.resolve()):
        raise SecurityError(f"{where} is a link that leads out of the store; copy the column into it")
    try:
        return zarr.open_array(store=store, path=path, mode="r", zarr_format=2 if node.zarr_format == 2 else 3)
    except OSError as error:
        raise StorageError(f"{where} cannot be opened: {error}") from error
    except Exception as error:  # zarr has no class of its own for metadata that it cannot make sense of
        raise SchemaError(
            f"{where}: metadata of Zarr format {node.zarr_format} not understood ({type(error).__name__}: {error})"
        ) from error


def unit_rows(array: ZarrArray, n_columns: int = 1) -> int:
    """Rows of a shard, or of a chunk where there are no shards or they are too large. n_columns: read side by side with it.

    Raises DataError where a chunk is too large to be decoded.
    """
    width = prod(array.shape[1:]) * array.dtype.itemsize
    chunk_bytes = array.chunks[0] * width
    if chunk_bytes > LARGEST_CHUNK:
        raise DataError(
            f"chunks of {array.chunks[0]} rows take {chunk_bytes} bytes decoded; more than {LARGEST_CHUNK} are not read, because a chunk"
            " is decoded as a whole. Store the rows in smaller chunks."
        )
    if array.shards is not None and array.shards[0] * width * n_columns <= LARGEST_UNIT:
        return int(array.shards[0])
    return int(array.chunks[0])


def refuse_changed(array: ZarrArray, what: str) -> None:
    """Compare the metadata of an array with those it was opened with. Raises DataChangedError naming what changed."""
    node = node_at(array.store, array.path)
    if node is None:
        raise DataChangedError(f"{what} has gone from the store while it was read")
    then, now = array.metadata.to_dict(), open_array(array.store, array.path, node).metadata.to_dict()
    changed = [key for key in ROWS_DEPEND_ON if then.get(key) != now.get(key)]
    if changed:
        said = ", ".join(f"{key} was {then.get(key)} and is {now.get(key)}" for key in changed)
        raise DataChangedError(
            f"{what} was changed while it was read: {said}. The rows of this pass are not trusted; wait until the store is written, and"
            " start a new run over the new rows."
        )


def travels(store: Store) -> bool:
    """Whether a pickled store opens the same data on another machine (given a shared file system), rather than a copy of them."""
    return isinstance(store, LocalStore | FsspecStore | ObjectStore | ZipStore)


async def _list(store: Store, group: str) -> list[str]:
    return [name async for name in store.list_dir(group)]


def _get(store: Store, key: str) -> bytes | None:
    found = guarded(lambda: sync(store.get(key, default_buffer_prototype())), _shown(store, key))
    return None if found is None else found.to_bytes()


def _shown(store: Store, path: str) -> str:
    if isinstance(store, LocalStore):
        return str(store.root / path)
    return path or "the store"
