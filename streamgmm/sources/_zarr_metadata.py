"""Zarr metadata as plain JSON, checked before any of it is acted on. Floor 4.

The text of a store is not trusted: a codec named in it would be loaded, and some codecs run code. So the documents `zarr.json`,
`.zarray` and `.zgroup` are parsed here and their codecs, shapes and dtypes checked; only then is the array opened with zarr.
"""

__all__ = ["Node", "check_array", "check_codecs", "column_dtype", "parse_node", "parsed"]

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from streamgmm.errors import SchemaError, SecurityError, nearest

LARGEST_DOCUMENT = 16 * 2**20
MOST_ROWS = 2**40
MOST_BYTES = 2**50

# Codecs that turn bytes into bytes or numbers into numbers and nothing else. Those that make Python objects are left out.
NUMCODECS = {
    *("adler32", "bitround", "blosc", "bz2", "crc32", "crc32c", "delta", "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3"),
    *("lz4", "lzma", "packbits", "quantize", "shuffle", "zlib", "zstd"),
}
CODECS_V3 = {"blosc", "bytes", "crc32c", "endian", "gzip", "sharding_indexed", "transpose", "zstd"}
ALLOWED = tuple(sorted(NUMCODECS | CODECS_V3 | {f"numcodecs.{name}" for name in NUMCODECS}))

NUMERIC_V3 = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
}

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """An array or a group of a store: its format (2 or 3) and its metadata document."""

    is_array: bool
    zarr_format: int
    document: Document

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an array."""
        return tuple(self.document["shape"])


def parse_node(documents: Mapping[str, bytes | None], where: str) -> Node | None:
    """The node that the raw documents (`zarr.json`, `.zarray`, `.zgroup`) describe, None where there is none. Raises SchemaError."""
    present = {key: raw for key, raw in documents.items() if raw is not None}
    if "zarr.json" in present and len(present) > 1:
        raise SchemaError(f"{where}: metadata of two formats at once ({', '.join(sorted(present))}); remove those that do not belong to it")
    for key, is_array in ((".zarray", True), (".zgroup", False)):
        if key in present:
            return _checked(Node(is_array, 2, parsed(present[key], f"{where}/{key}")), f"{where}/{key}")
    if "zarr.json" not in present:
        return None
    document = parsed(present["zarr.json"], f"{where}/zarr.json")
    kind = document.get("node_type")
    if kind not in {"array", "group"} or document.get("zarr_format") != 3:
        raise SchemaError(f"{where}/zarr.json: not Zarr format 3: node_type is {kind!r}, zarr_format {document.get('zarr_format')!r}")
    return _checked(Node(kind == "array", 3, document), f"{where}/zarr.json")


def check_array(node: Node, where: str) -> None:
    """Codecs and size of an array that is to be read. Raises SecurityError or SchemaError."""
    check_codecs(node.document, where)
    n_rows = node.shape[0] if node.shape else 0
    dtype = column_dtype(node)
    n_bytes = prod(node.shape) * (8 if dtype is None else dtype.itemsize)
    if n_rows > MOST_ROWS or n_bytes > MOST_BYTES:
        raise SchemaError(
            f"{where}: its metadata says shape {node.shape}, {n_bytes} bytes; more than {MOST_ROWS} rows or {MOST_BYTES} bytes are not"
            " believed. The metadata is damaged or not meant to be read."
        )


def check_codecs(document: Document, where: str) -> None:
    """Every codec, filter and compressor, those inside shards included, must be on the allow-list. Raises SecurityError."""
    for codec in _codecs(document):
        name = codec if isinstance(codec, str) else codec.get("name", codec.get("id")) if isinstance(codec, Mapping) else None
        if name not in ALLOWED:
            raise SecurityError(
                f"{where}: codec {name!r} is not on the list of codecs that cannot run code: {', '.join(ALLOWED)}"
                f"{nearest(str(name), ALLOWED)}. Re-write the array with one of them."
            )


def column_dtype(node: Node) -> np.dtype[Any] | None:
    """NumPy dtype of an array's elements; None where they are not numbers (text, objects, records)."""
    name = node.document.get("data_type" if node.zarr_format == 3 else "dtype")
    if not isinstance(name, str) or (node.zarr_format == 3 and name not in NUMERIC_V3):
        return None
    try:
        dtype = np.dtype(name)
    except TypeError:
        return None
    return dtype if dtype.kind in "buifc" else None


def _codecs(document: Document) -> Iterator[Any]:
    listed = [*(document.get("codecs") or ()), *(document.get("filters") or ()), *(document.get("index_codecs") or ())]
    if document.get("compressor") is not None:
        listed.append(document["compressor"])
    for codec in listed:
        yield codec
        configuration = codec.get("configuration") if isinstance(codec, Mapping) else None
        if isinstance(configuration, Mapping):
            yield from _codecs(configuration)


def parsed(raw: bytes | None, where: str) -> Document:
    """A metadata document, which is a JSON object. Raises SchemaError."""
    if raw is None or len(raw) > LARGEST_DOCUMENT:
        raise SchemaError(f"{where}: larger than {LARGEST_DOCUMENT} bytes, which no metadata needs")
    try:
        document = json.loads(raw)
    except json.JSONDecodeError as error:
        raise SchemaError(f"{where}: not JSON at character {error.pos} of {len(raw)}: {error.msg}. The metadata is damaged.") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(f"{where}: not JSON: {error}. The metadata is damaged.") from error
    if not isinstance(document, dict):
        raise SchemaError(f"{where}: expected a JSON object, found {type(document).__name__}. The metadata is damaged.")
    return document


def _checked(node: Node, where: str) -> Node:
    if not node.is_array:
        return node
    shape = node.document.get("shape")
    whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    if not whole:
        raise SchemaError(f"{where}: shape is {shape!r}, expected a list of integers >= 0. The metadata is damaged.")
    for key in ("codecs", "filters"):
        if not isinstance(node.document.get(key) or [], list):
            raise SchemaError(f"{where}: {key} is not a list. The metadata is damaged.")
    return node
