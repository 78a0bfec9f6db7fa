"""A narrow reader for the Zarr v3 groups that streamgmm writes itself: models and commits. Floor 0.

Bytes from a file are not trusted. Only little-endian numbers in one uncompressed chunk per array are read, metadata is strict JSON
with limits, sizes are checked before anything is allocated, and no codec is ever looked up: such a file cannot hold code. Stores of
rows, whose codecs are many, are opened by zarr itself (sources/), not here.
"""

__all__ = ["MAX_JSON_BYTES", "MAX_MEMBER_BYTES", "read_group", "strict_json"]

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.errors import CheckpointError, StreamGMMError

MAX_JSON_BYTES = 4 << 20
MAX_MEMBER_BYTES = 1 << 30
MAX_DEPTH = 20
DTYPES = {"float64": "<f8"}
MOST_AXES = 8
PLAIN_BYTES = [{"name": "bytes", "configuration": {"endian": "little"}}]


def strict_json(raw: bytes, name: str, *, limit: int = MAX_JSON_BYTES, refusal: type[StreamGMMError] = CheckpointError) -> Any:
    """Parse JSON that has no NaN, no duplicate keys, no deep nesting. Raises `refusal`."""
    if len(raw) > limit:
        raise refusal(f"{name}: {len(raw)} bytes of JSON, the limit is {limit}")
    deepest = _depth(raw)
    if deepest > MAX_DEPTH:
        raise refusal(f"{name}: JSON nested {deepest} deep, the limit is {MAX_DEPTH}")
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise refusal(f"{name}: not strict JSON ({error})") from error


def _depth(raw: bytes) -> int:
    """Deepest nesting of brackets; those inside texts count too."""
    brackets = np.frombuffer(raw, np.uint8)
    brackets = brackets[np.isin(brackets, np.frombuffer(b"[]{}", np.uint8))]
    steps = np.where(np.isin(brackets, np.frombuffer(b"[{", np.uint8)), 1, -1)
    return int(np.cumsum(steps).max(initial=0))


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def read_group(names: Iterable[str], read: Callable[[str], bytes]) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """(attributes, numeric arrays by name) of a flat Zarr v3 group whose members are `names`; text arrays are left out.

    Raises CheckpointError naming the member and what is wrong with it.
    """
    known = set(names)
    if "zarr.json" not in known:
        raise CheckpointError("not a streamgmm file: it holds no zarr.json")
    root = _node(read("zarr.json"), "zarr.json", "group")
    attributes = root.get("attributes", {})
    arrays = {}
    for name in sorted(known):
        array, slash, rest = name.partition("/")
        if slash and rest == "zarr.json":
            meta = _node(read(name), name, "array")
            if meta.get("data_type") != "string":
                arrays[array] = _array(array, meta, known, read)
    if not isinstance(attributes, dict):
        raise CheckpointError("zarr.json: attributes are not a table")
    return attributes, arrays


def _node(raw: bytes, name: str, kind: str) -> dict[str, Any]:
    meta = strict_json(raw, name)
    if not isinstance(meta, dict) or meta.get("zarr_format") != 3 or meta.get("node_type") != kind:
        raise CheckpointError(f"{name}: not the metadata of a Zarr v3 {kind}")
    return meta


def _table(value: Any) -> dict[str, Any]:
    """What should be a table and, in a hostile document, may be anything."""
    return value if isinstance(value, dict) else {}


def _array(name: str, meta: dict[str, Any], known: set[str], read: Callable[[str], bytes]) -> FloatArray:
    dtype, shape = DTYPES.get(str(meta.get("data_type"))), meta.get("shape")
    if dtype is None:
        raise CheckpointError(f"{name}: data type {str(meta.get('data_type'))[:80]!r}; float64 is read")
    if meta.get("codecs") != PLAIN_BYTES:
        raise CheckpointError(f"{name}: codecs {str(meta.get('codecs'))[:200]}; streamgmm writes plain little-endian bytes only")
    if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise CheckpointError(f"{name}: shape {str(shape)[:80]} is not a list of sizes")
    if 8 * math.prod(max(n, 1) for n in shape) > MAX_MEMBER_BYTES:
        raise CheckpointError(f"{name}: shape {shape} asks for more than {MAX_MEMBER_BYTES} bytes, which is the limit")
    expected = 8 * math.prod(shape)
    if expected == 0:
        return np.empty(shape, dtype)
    chunk = _table(_table(meta.get("chunk_grid")).get("configuration")).get("chunk_shape")
    if chunk != shape:
        raise CheckpointError(f"{name}: chunks {str(chunk)[:80]} for shape {shape}; one chunk per array is written")
    key = "/".join([name, "c", *("0" for _ in shape)])
    if key not in known:
        raise CheckpointError(f"{name}: its chunk {key} is missing")
    raw = read(key)
    if len(raw) != expected:
        raise CheckpointError(f"{key}: {len(raw)} bytes for shape {shape}, {expected} are expected")
    return np.frombuffer(raw, dtype).reshape(shape).astype(dtype[1:], copy=True)
