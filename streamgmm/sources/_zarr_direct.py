"""Whole chunks and shards of local Zarr v3 arrays, decoded straight into the rows. Floor 4.

Zarr hands every chunk through an event loop, a thread, a buffer for the file, one for the decoded bytes and one for the rows; that cost
more than decoding. Here one thread reads a file and decodes it into the rows. Only the common layouts are known: little-endian numbers,
one compressor or none, CRC32C or none, shards or none, chunks along the rows only; other layouts, and chunks that may be absent, are left
to zarr. Damage is said here, and before anything is allocated that a damaged header asks for.
"""

__all__ = ["DirectReader", "claimed_bytes", "decode", "direct_reader", "refuse_odd_file"]

import errno
import importlib
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import LocalStore

from streamgmm.errors import ChunkMissingError, StorageError
from streamgmm.sources._zarr_chunks import ABSENT, CRC_BYTES, INDEX_ENTRY, ChunkChecks

AnyArray = npt.NDArray[np.generic]
Bytes = npt.NDArray[np.uint8]

blosc: Any = importlib.import_module("numcodecs.blosc")  # numcodecs has no types
zstd: Any = importlib.import_module("numcodecs.zstd")

LARGEST_FILE = 512 * 2**20  # decoded bytes: of a larger shard zarr reads the chunks it needs
BLOSC_HEADER = 16
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
GZIP = 31  # zlib's name for a gzip wrapper
COMPRESSORS = {"blosc", "gzip", "zstd"}
PLAIN_BYTES = ({"name": "bytes", "configuration": {"endian": "little"}}, {"name": "bytes"})


class Undecodable(ValueError):
    """Bytes that are not what the codecs would have written; the text says why."""


@dataclass(frozen=True, eq=False)
class DirectReader:
    """file_rows: of a shard, or of a chunk where there are no shards. codecs: names after "bytes", in the order of encoding."""

    checks: ChunkChecks
    folder: Path
    file_rows: int
    chunk_rows: int
    codecs: tuple[str, ...]

    @property
    def array(self) -> "zarr.Array[Any]":
        """The array that is read."""
        return self.checks.array

    def rows(self, start: int, stop: int) -> AnyArray | None:
        """Rows start .. stop-1; None where a chunk is absent and may be. Raises ChunkMissingError, ChunkCorruptError, StorageError."""
        out = np.empty((stop - start, *self.array.shape[1:]), self.array.dtype)
        whole = all(self._decode_file(number, start, out) for number in range(start // self.file_rows, -(-stop // self.file_rows)))
        return out if whole else None

    def _decode_file(self, number: int, start: int, out: AnyArray) -> bool:
        key = self.array.metadata.encode_chunk_key((number, *(0 for _ in self.array.shape[1:])))
        raw = self._file(key)
        if raw is None:
            return False
        self.checks.check(key, raw)
        first = number * self.file_rows
        try:
            return all(self._decode_chunk(piece, first + at, start, out) for at, piece in self._chunks(np.frombuffer(raw, np.uint8)))
        except (RuntimeError, ValueError, zlib.error) as error:
            raise self.checks.corrupt(key, str(error)) from error

    def _file(self, key: str) -> bytes | None:
        """What a file holds; None where it is absent and may be."""
        try:
            return read_file(self.folder / key, key, self.checks)
        except ChunkMissingError:
            if self.checks.must_be_there(key):
                raise
            return None

    def _chunks(self, raw: Bytes) -> "Iterator[tuple[int, Bytes | None]]":
        """First row within the file, and bytes, of every chunk of a file; None where the shard has no such chunk."""
        if self.file_rows == self.chunk_rows:
            yield 0, raw
            return
        n_chunks = self.file_rows // self.chunk_rows
        index = _checked(raw[-INDEX_ENTRY * n_chunks - CRC_BYTES :])
        if index.size != INDEX_ENTRY * n_chunks:
            raise Undecodable(f"{raw.size} bytes found, fewer than the index of {n_chunks} chunks at the end of a shard takes")
        for i, (offset, length) in enumerate(index.view("<u8").reshape(-1, 2).tolist()):
            if i * self.chunk_rows >= self.array.shape[0]:  # chunks beyond the table need not be there
                return
            if offset != ABSENT and offset + length > raw.size:
                raise Undecodable(f"chunk {i} inside the shard ends at byte {offset + length} of {raw.size}")
            yield i * self.chunk_rows, None if offset == ABSENT else raw[offset : offset + length]

    def _decode_chunk(self, raw: Bytes | None, first: int, start: int, out: AnyArray) -> bool:
        low, high = max(first, start), min(first + self.chunk_rows, start + len(out))
        if low >= high:
            return True
        if raw is None:
            return False
        whole = high - low == self.chunk_rows
        into = out[low - start : high - start] if whole else np.empty((self.chunk_rows, *out.shape[1:]), out.dtype)
        decode(raw, self.codecs, into)
        if not whole:
            out[low - start : high - start] = into[low - first : high - first]
        return True


def direct_reader(checks: ChunkChecks) -> DirectReader | None:
    """A reader of this array, None where its place or its layout is not one of those known here."""
    array = checks.array
    if not isinstance(array.store, LocalStore) or array.metadata.zarr_format != 3 or sys.byteorder != "little":
        return None
    metadata: Any = array.metadata.to_dict()
    codecs, chunk = list(metadata["codecs"]), list(array.chunks)
    regular = metadata["chunk_grid"]["name"] == "regular" and chunk[1:] == list(array.shape[1:])
    file_rows = chunk[0]
    if array.shards is not None:
        file_rows, codecs = array.shards[0], _codecs_in_shards(codecs, array)
    names = _known(codecs)
    if not regular or names is None or array.dtype.kind not in "iuf" or not array.dtype.isnative or checks.decoded_bytes > LARGEST_FILE:
        return None
    return DirectReader(checks, array.store.root / array.path, int(file_rows), int(chunk[0]), names)


def read_file(path: Path, key: str, checks: ChunkChecks) -> bytes:
    """What a chunk file holds, if it is a regular file of a length that a chunk can have.

    Raises ChunkMissingError, ChunkCorruptError, StorageError.
    """
    try:
        refuse_odd_file(path, key, checks)
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:  # noqa: PTH123  (a FIFO would wait for a writer)
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise checks.missing(key) from error
    except OSError as error:
        raise error if isinstance(error, StorageError) else _unreadable(key, checks, error) from error


def refuse_odd_file(path: Path, key: str, checks: ChunkChecks) -> None:
    """Refuse what is no regular file of a length that a chunk can have. Raises FileNotFoundError, StorageError, ChunkCorruptError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(key, checks, error) from error
    _refuse_odd(status, key, checks)


def claimed_bytes(raw: bytes, codec: str) -> int:
    """Decoded bytes that a header or trailer tells, 0 where the codec tells nothing or the bytes are not its own."""
    if codec == "blosc" and len(raw) >= BLOSC_HEADER:
        return int.from_bytes(raw[4:8], "little")
    if codec == "lz4" and len(raw) >= 4:
        return int.from_bytes(raw[:4], "little")
    if codec == "gzip" and len(raw) >= 18:
        return int.from_bytes(raw[-4:], "little")
    if codec == "zstd" and len(raw) >= 6 and raw[:4] == ZSTD_MAGIC:
        return _claimed_by_zstd(np.frombuffer(raw, np.uint8)) or 0
    return 0


def decode(raw: Bytes, codecs: Sequence[str], into: AnyArray) -> None:
    """Undo the codecs, the last first. Raises Undecodable, or what a codec raises, where what comes out is not exactly `into`."""
    if codecs and codecs[-1] == "crc32c":
        decode(_checked(raw), codecs[:-1], into)
    elif not codecs:
        _copy(raw, into)
    elif codecs[0] == "blosc":
        _decode_blosc(raw, into)
    elif codecs[0] == "gzip":
        _decode_gzip(raw, into)
    else:
        _decode_zstd(raw, into)


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
    compressor = tuple(name for name in names if name in COMPRESSORS)
    return names if names in {compressor, (*compressor, "crc32c")} and len(compressor) <= 1 else None


def _decode_blosc(raw: Bytes, into: AnyArray) -> None:
    if raw.size < BLOSC_HEADER:
        raise Undecodable(f"{raw.size} bytes found, fewer than the header of Blosc")
    decoded, block, encoded = raw[4:16].view("<u4").tolist()
    if decoded != into.nbytes or encoded != raw.size or block > max(decoded, 1):
        raise Undecodable(
            f"its Blosc header says {encoded} bytes that decode to {decoded} in blocks of {block}, found are {raw.size} bytes,"
            f" expected {into.nbytes} decoded"
        )
    blosc.decompress(raw, into)


def _decode_zstd(raw: Bytes, into: AnyArray) -> None:
    claimed = _claimed_by_zstd(raw)
    if claimed is not None and claimed > into.nbytes:
        raise Undecodable(f"its Zstandard header says {claimed} bytes decoded, expected {into.nbytes}")
    zstd.decompress(raw, into)
    # Several frames: NumCodecs refuses more than `into` holds, and does not notice fewer. Of a length that is not told it notices both.
    if claimed not in {None, into.nbytes} and len(zstd.decompress(raw)) != into.nbytes:
        raise Undecodable(f"decodes to fewer bytes than the {into.nbytes} expected")


def _claimed_by_zstd(raw: Bytes) -> int | None:
    """Decoded bytes that the first frame's header tells, None where it does not."""
    head = raw[:18].tobytes()
    if len(head) < 6 or head[:4] != ZSTD_MAGIC:
        raise Undecodable(f"{raw.size} bytes that are no Zstandard frame")
    single, size_flag = head[4] >> 5 & 1, head[4] >> 6
    width = (1 if single else 0, 2, 4, 8)[size_flag]
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[head[4] & 3]
    if width == 0:
        return None
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)


def _decode_gzip(raw: Bytes, into: AnyArray) -> None:
    rest, pieces, room = raw.tobytes(), [], into.nbytes
    while rest:  # a file may have several members
        decoder = zlib.decompressobj(GZIP)
        pieces.append(decoder.decompress(rest, room + 1))
        room -= len(pieces[-1])
        if room < 0 or not decoder.eof:
            raise Undecodable(f"decodes to {'more' if room < 0 else 'fewer'} bytes than the {into.nbytes} expected, or is cut short")
        rest = decoder.unused_data
    _copy(np.frombuffer(b"".join(pieces), np.uint8), into)


def _copy(raw: Bytes, into: AnyArray) -> None:
    if raw.size != into.nbytes:
        raise Undecodable(f"{raw.size} bytes found, {into.nbytes} expected")
    into.reshape(-1).view(np.uint8)[:] = raw


def _checked(raw: Bytes) -> Bytes:
    """The bytes before their checksum."""
    if raw.size < CRC_BYTES:
        raise Undecodable(f"{raw.size} bytes found, fewer than a CRC32C takes")
    body, checksum = raw[:-CRC_BYTES], int.from_bytes(raw[-CRC_BYTES:].tobytes(), "little")
    found = google_crc32c.value(body)
    if found != checksum:
        raise Undecodable(f"CRC32C {found:08x} of {body.size} bytes, {checksum:08x} stored")
    return body


def _refuse_odd(status: os.stat_result, key: str, checks: ChunkChecks) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{checks.what}: chunk {key} is {_kind(status.st_mode)}, no regular file; remove it or restore the chunk")
    checks.check_length(key, status.st_size)


def _unreadable(key: str, checks: ChunkChecks, error: OSError) -> StorageError:
    kind = "a loop of links" if error.errno == errno.ELOOP else errno.errorcode.get(error.errno or 0, "no errno")
    raised = StorageError(
        f"{checks.what}: chunk {key} cannot be read: {error.strerror or error} ({kind}); it is not missing. See to its file."
    )
    raised.errno = error.errno
    return raised


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a FIFO",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
