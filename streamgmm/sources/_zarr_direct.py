"""Whole chunks and shards of local Zarr v3 arrays, decoded straight into the rows. Floor 4.

Zarr hands every chunk through an event loop, a thread, a buffer for the file, one for the decoded bytes and one for the rows; that cost
more than decoding. Here one thread reads a file and decodes it into the rows. Only the common layouts are known: little-endian numbers,
Blosc, Zstandard or nothing, CRC32C or nothing, shards or none, chunks along the rows only. Whatever else is found, damage too, is left
to zarr: `rows` answers None, and zarr reads, or says what is wrong.
"""

__all__ = ["DirectReader", "direct_reader"]

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import LocalStore

AnyArray = npt.NDArray[np.generic]
Bytes = npt.NDArray[np.uint8]

blosc: Any = importlib.import_module("numcodecs.blosc")  # numcodecs has no types
zstd: Any = importlib.import_module("numcodecs.zstd")

CRC_BYTES = 4
INDEX_ENTRY = 16  # offset and length of a chunk inside a shard
BLOSC_HEADER = 16
MARGIN = 2**20  # a file may be so much larger than what it decodes to (and an eighth of that)
PLAIN_BYTES = ({"name": "bytes", "configuration": {"endian": "little"}}, {"name": "bytes"})


@dataclass(frozen=True, eq=False)
class DirectReader:
    """file_rows: of a shard, or of a chunk where there are no shards. codecs: names after "bytes", in the order of encoding."""

    array: "zarr.Array[Any]"
    folder: Path
    file_rows: int
    chunk_rows: int
    codecs: tuple[str, ...]

    def rows(self, start: int, stop: int) -> AnyArray | None:
        """Rows start .. stop-1; None where zarr has to read them."""
        out = np.empty((stop - start, *self.array.shape[1:]), self.array.dtype)
        try:
            whole = all(self._decode_file(number, start, out) for number in range(start // self.file_rows, -(-stop // self.file_rows)))
        except (OSError, RuntimeError, ValueError):
            return None
        return out if whole else None

    def _decode_file(self, number: int, start: int, out: AnyArray) -> bool:
        key = self.array.metadata.encode_chunk_key((number, *(0 for _ in self.array.shape[1:])))
        raw = _file(self.folder / key, self._bytes_of(self.file_rows))
        first = number * self.file_rows
        return all(self._decode_chunk(piece, first + at, start, out) for at, piece in self._chunks(raw))

    def _chunks(self, raw: Bytes) -> "Iterator[tuple[int, Bytes | None]]":
        """First row within the file, and bytes, of every chunk of a file; None where the shard's index is wrong or has no such chunk."""
        if self.file_rows == self.chunk_rows:
            yield 0, raw
            return
        n_chunks = self.file_rows // self.chunk_rows
        index = _checked(raw[-INDEX_ENTRY * n_chunks - CRC_BYTES :])
        if index is None or index.size != INDEX_ENTRY * n_chunks:
            yield 0, None
            return
        for i, (offset, length) in enumerate(index.view("<u8").reshape(-1, 2).tolist()):
            if i * self.chunk_rows >= self.array.shape[0]:  # chunks beyond the table need not be there
                return
            yield i * self.chunk_rows, raw[offset : offset + length] if offset + length <= raw.size else None

    def _decode_chunk(self, raw: Bytes | None, first: int, start: int, out: AnyArray) -> bool:
        low, high = max(first, start), min(first + self.chunk_rows, start + len(out))
        if low >= high:
            return True
        whole = high - low == self.chunk_rows
        into = out[low - start : high - start] if whole else np.empty((self.chunk_rows, *out.shape[1:]), out.dtype)
        if raw is None or not _decode(raw, self.codecs, into):
            return False
        if not whole:
            out[low - start : high - start] = into[low - first : high - first]
        return True

    def _bytes_of(self, n_rows: int) -> int:
        return int(n_rows * prod(self.array.shape[1:]) * self.array.dtype.itemsize)


def direct_reader(array: "zarr.Array[Any]") -> DirectReader | None:
    """A reader of this array, None where its place or its layout is not one of those known here."""
    if not isinstance(array.store, LocalStore) or array.metadata.zarr_format != 3 or sys.byteorder != "little":
        return None
    metadata: Any = array.metadata.to_dict()
    codecs, chunk = list(metadata["codecs"]), list(array.chunks)
    regular = metadata["chunk_grid"]["name"] == "regular" and chunk[1:] == list(array.shape[1:])
    file_rows = chunk[0]
    if array.shards is not None:
        file_rows, codecs = array.shards[0], _codecs_in_shards(codecs, array)
    names = _known(codecs)
    if not regular or names is None or array.dtype.kind not in "iuf" or not array.dtype.isnative:
        return None
    return DirectReader(array, array.store.root / array.path, int(file_rows), int(chunk[0]), names)


def _codecs_in_shards(codecs: Sequence[Any], array: "zarr.Array[Any]") -> list[Any]:
    """Codecs of the chunks inside the shards; none, which is unknown, where shards are not of the usual make."""
    shards = array.shards
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed" or shards is None or list(shards[1:]) != list(array.shape[1:]):
        return []
    settings = codecs[0]["configuration"]
    usual = settings.get("index_location", "end") == "end" and _known(settings["index_codecs"]) == ("crc32c",)
    return list(settings["codecs"]) if usual else []


def _known(codecs: Sequence[Any]) -> tuple[str, ...] | None:
    if not codecs or codecs[0] not in PLAIN_BYTES:
        return None
    names = tuple(str(codec["name"]) for codec in codecs[1:])
    compressor = tuple(name for name in names if name in {"blosc", "zstd"})
    return names if names in {compressor, (*compressor, "crc32c")} and len(compressor) <= 1 else None


def _decode(raw: Bytes, codecs: Sequence[str], into: AnyArray) -> bool:
    """Undo the codecs, the last first; False where what comes out is not exactly `into`."""
    if codecs and codecs[-1] == "crc32c":
        checked = _checked(raw)
        return checked is not None and _decode(checked, codecs[:-1], into)
    if not codecs:
        return _copy(raw, into)
    if codecs[0] == "blosc":
        if raw.size < BLOSC_HEADER or raw[4:8].view("<u4")[0] != into.nbytes or raw[12:16].view("<u4")[0] != raw.size:
            return False
        blosc.decompress(raw, into)
        return True
    return _copy(np.frombuffer(zstd.decompress(raw), np.uint8), into)


def _copy(raw: Bytes, into: AnyArray) -> bool:
    if raw.size != into.nbytes:
        return False
    into.reshape(-1).view(np.uint8)[:] = raw
    return True


def _checked(raw: Bytes) -> Bytes | None:
    """The bytes before their checksum, None where it is not theirs."""
    if raw.size < CRC_BYTES:
        return None
    body, checksum = raw[:-CRC_BYTES], raw[-CRC_BYTES:]
    return body if google_crc32c.value(body) == int.from_bytes(checksum.tobytes(), "little") else None


def _file(path: Path, decoded_bytes: int) -> Bytes:
    """What a file holds, in fresh memory: reading into a buffer kept for that took three times as long."""
    if path.stat().st_size > decoded_bytes + decoded_bytes // 8 + MARGIN:
        raise ValueError("larger than what it should hold")
    return np.frombuffer(path.read_bytes(), np.uint8)
