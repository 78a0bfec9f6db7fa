"""A Zarr store by its address: which of its arrays are the columns. Floor 4.

A 2-D array is a table; a group of 1-D arrays is a column store. Nothing is read but metadata, and of the arrays that are not asked for
not even those, but for their names.
"""

__all__ = ["from_zarr_group", "open_zarr"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import zarr
from zarr.abc.store import Store

from streamgmm.errors import DataError, SchemaError, StorageError
from streamgmm.safe_paths import check_member
from streamgmm.sources._checks import NUMERIC, chosen_columns
from streamgmm.sources._locations import Location
from streamgmm.sources._zarr_consolidated import warn_outdated
from streamgmm.sources._zarr_keys import check_keys, warn_unverified
from streamgmm.sources._zarr_metadata import Node, column_dtype
from streamgmm.sources._zarr_store import ZarrArray, consolidated_v2, member_names, node_at, nodes_at, open_array, open_store
from streamgmm.sources.base import AbstractSource
from streamgmm.sources.zarr_array import ZarrArraySource, from_zarr_array
from streamgmm.sources.zarr_columns import from_zarr_columns

Rows = tuple[AbstractSource, AbstractSource | None]


def open_zarr(location: Location, features: Sequence[str] | None, weight: str | None) -> Rows:
    """The rows at a location and, where `weight` names a column, their weights. Raises DataError, SchemaError, SecurityError."""
    store = open_store(location)
    node = node_at(store, "")
    if node is None:
        raise DataError(f"{location.shown} holds neither a Zarr store nor Parquet files" + _inside(location))
    if node.is_array:
        return _open_array(store, node, features, weight, location.shown)
    return _open_group(store, "", node, features, weight, location.shown)


def from_zarr_group(group: zarr.Group) -> AbstractSource:
    """A source of every numeric column of a Zarr group that the caller has opened."""
    node = node_at(group.store, group.path)
    if node is None:
        raise DataError(f"the Zarr group {group.path!r} is not in its store any more")
    return _open_group(group.store, group.path, node, None, None, group.path or "the group")[0]


def _open_array(store: Store, node: Node, features: Sequence[str] | None, weight: str | None, shown: str) -> Rows:
    array = open_array(store, "", node)
    whole = from_zarr_array(array)
    complete = check_keys(array, node.document, shown, all_written=_attributes(node).get("all_chunks_written") is True)
    whole = replace(whole, complete=complete)
    warn_unverified([(f"array {shown}", array)], shown)
    available = whole.feature_names
    names = chosen_columns(features, [name for name in available if name != weight], available, shown)
    weights = None if weight is None else _some_columns(whole, chosen_columns([weight], (), available, shown))
    return _some_columns(whole, names), weights


def _some_columns(whole: ZarrArraySource, names: Sequence[str]) -> ZarrArraySource:
    numbers = tuple(whole.feature_names.index(name) for name in names)
    return replace(whole, feature_names=tuple(names), units=tuple(whole.units[j] for j in numbers), columns=numbers)


def _open_group(store: Store, path: str, node: Node, features: Sequence[str] | None, weight: str | None, shown: str) -> Rows:
    attributes = _attributes(node)
    asked = [check_member(str(name)) for name in (*(features or ()), *([] if weight is None else [weight]))]
    wanted = _columns_listed(attributes, store, path) if features is None else asked
    nodes = nodes_at(store, path, dict.fromkeys([*wanted, *asked]))
    numeric = [name for name in wanted if name in nodes and _is_column(nodes[name]) and name != weight]
    if features is None and not numeric:
        raise DataError(f"{shown} is a group without a numeric column (a 1-D array); inside are {_described(nodes)}")
    available = tuple(nodes) if nodes.keys() >= set(asked) else _all_members(store, path, nodes)
    names = chosen_columns(features, numeric, available, shown)
    weights = () if weight is None else chosen_columns([weight], (), available, shown)
    used = {name: nodes[name] for name in (*names, *weights) if name in nodes}
    warn_outdated(node, consolidated_v2(store, path) if node.zarr_format == 2 else None, used, shown)
    arrays = {name: _open_column(store, path, name, nodes.get(name)) for name in (*names, *weights)}
    rows = from_zarr_columns({name: arrays[name] for name in names})
    weighing = from_zarr_columns({name: arrays[name] for name in weights}) if weights else None
    warn_unverified([(f"column {name!r}", array) for name, array in arrays.items()], shown)
    all_written = attributes.get("all_chunks_written") is True
    complete = {
        name: check_keys(array, nodes[name].document, f"column {name!r}", all_written=all_written) for name, array in arrays.items()
    }
    rows = replace(rows, complete=tuple(complete[name] for name in names))
    return rows, None if weighing is None else replace(weighing, complete=tuple(complete[name] for name in weights))


def _open_column(store: Store, group: str, name: str, node: Node | None) -> ZarrArray:
    if node is None or not node.is_array:
        raise SchemaError(f"{name!r} is {'a group' if node else 'a folder without Zarr metadata'}, not a column (a 1-D array)")
    if column_dtype(node) is None:
        kind = node.document.get("data_type", node.document.get("dtype"))
        raise SchemaError(f"column {name!r} has data type {kind!r}, could not convert it to numbers; {NUMERIC} are accepted. Leave it out.")
    if len(node.shape) != 1:
        raise SchemaError(f"column {name!r} has shape {node.shape}; columns have one axis")
    return open_array(store, f"{group}/{name}" if group else name, node)


def _attributes(node: Node) -> Mapping[str, Any]:
    found = node.document.get("attributes")
    return found if isinstance(found, dict) else {}


def _columns_listed(attributes: Mapping[str, Any], store: Store, path: str) -> list[str]:
    """The columns that the store's writer listed, in that order; all members, by name, where there is no list."""
    listed = attributes.get("columns")
    if not isinstance(listed, list):
        return list(member_names(store, path))
    return [check_member(str(name)) for name in listed]


def _all_members(store: Store, path: str, nodes: Mapping[str, Node]) -> tuple[str, ...]:
    try:
        return member_names(store, path)
    except StorageError:  # a plain web server does not list
        return tuple(nodes)


def _is_column(node: Node) -> bool:
    dtype = column_dtype(node)
    return node.is_array and len(node.shape) == 1 and dtype is not None and dtype.kind != "c"


def _described(nodes: Mapping[str, Node]) -> str:
    said = [f"{name} {node.shape if node.is_array else '(a group)'}" for name, node in nodes.items()]
    return ", ".join(said) or "no arrays"


def _inside(location: Location) -> str:
    found = sorted(entry.name for entry in location.path.iterdir())[:10] if location.path else []
    return f"; in it are {', '.join(found)}" if found else ""
