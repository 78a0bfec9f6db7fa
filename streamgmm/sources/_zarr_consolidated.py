"""Consolidated metadata, a second copy of what the arrays say of themselves: never used, compared with them. Floor 4."""

__all__ = ["CONSOLIDATED_V2", "warn_outdated"]

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from streamgmm.errors import SchemaError
from streamgmm.sources._zarr_metadata import Node, parsed

CONSOLIDATED_V2 = ".zmetadata"
COMPARED = ("shape", "data_type", "dtype", "chunk_grid", "chunks")


def warn_outdated(group: Node, raw: bytes | None, columns: Mapping[str, Node], shown: str) -> None:
    """One warning for all columns of which a group's consolidated metadata say something else. raw: `.zmetadata` of format 2."""
    copies = _copies(group, raw, columns)
    differ = [name for name, node in columns.items() if name in copies and _differs(node.document, copies[name])]
    if differ:
        warnings.warn(
            f"the consolidated metadata of {shown} are older than its arrays, or damaged: they say something else of column(s)"
            f" {', '.join(differ)}. The arrays' own metadata are used; programs that read the consolidated ones see other rows. Consolidate"
            " anew.",
            UserWarning,
            stacklevel=6,
        )


def _copies(group: Node, raw: bytes | None, names: Iterable[str]) -> dict[str, Any]:
    try:
        document = group.document.get("consolidated_metadata") if raw is None else parsed(raw, CONSOLIDATED_V2)
    except SchemaError:
        return dict.fromkeys(names)
    members = document.get("metadata") if isinstance(document, Mapping) else None
    if not isinstance(members, Mapping):
        return {}
    suffix = "" if raw is None else "/.zarray"
    return {name: members[name + suffix] for name in names if name + suffix in members}


def _differs(document: Mapping[str, Any], copy: Any) -> bool:
    return not isinstance(copy, Mapping) or any(document.get(key) != copy.get(key) for key in COMPARED)
