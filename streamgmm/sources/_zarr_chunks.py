"""What the chunk files of an array have to be, and the errors that say they are not. Floor 4.

Known from three places: the layout (how many bytes a file can hold at most), what the writer says (that all chunks were written), and a
manifest (which files there are, and their hashes). A chunk that is absent though it must be there is an error; one that may have been left
out because it held only the fill value is not, and the reader of the store is warned once, when it is opened.
"""

__all__ = ["ABSENT", "CRC_BYTES", "INDEX_ENTRY", "ChunkChecks", "chunk_checks", "has_checksum", "inner_absent"]

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from streamgmm.errors import ChunkCorruptError, ChunkMissingError
from streamgmm.manifest import MANIFEST_NAME, Manifest, parse_manifest
from streamgmm.sources._failures import guarded

MARGIN = 2**20  # a file may be so much larger than what it decodes to (and an eighth of that)
CRC_BYTES = 4
INDEX_ENTRY = 16  # offset and length of a chunk inside a shard
ABSENT = 2**64 - 1
ADVICE = "Restore it from a copy, or write the store anew."


@dataclass(frozen=True, eq=False)
class ChunkChecks:
    """What is known of the chunk files of one array.

    complete: the store holds every chunk. sealed: the codec of a file ends it with a checksum of the rest.
    """

    what: str
    array: "zarr.Array[Any]"
    complete: bool
    manifest: Manifest | None
    sealed: bool

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Shape of what one file holds: a shard, or a chunk where there are none."""
        return tuple(int(n) for n in (self.array.shards or self.array.chunks))

    @property
    def decoded_bytes(self) -> int:
        """Bytes of what one file holds."""
        return prod(self.file_shape) * int(self.array.dtype.itemsize)

    @property
    def largest_file(self) -> int:
        """Bytes that a file may have; a larger one cannot be a chunk of this array."""
        return self.decoded_bytes + self.decoded_bytes // 8 + MARGIN

    @property
    def outermost(self) -> str:
        """Name of the codec that was applied last, whose header a file begins with; nothing where none tells a length."""
        document: Any = self.array.metadata.to_dict()
        last = document.get("compressor") or (document.get("codecs") or [None])[-1]
        return "" if last is None else str(_settings(last).get("name", _settings(last).get("id"))).removeprefix("numcodecs.")

    def rows_of(self, key: str) -> str:
        """`rows 192 to 255`, of a chunk by its key within the array."""
        number = re.search(r"\d+", key)
        first = (int(number[0]) if number else 0) * self.file_shape[0]
        return f"rows {first} to {min(first + self.file_shape[0], self.array.shape[0]) - 1}"

    def must_be_there(self, key: str) -> bool:
        """Whether the absence of a file is damage."""
        return self.complete if self.manifest is None else key in self.manifest.files

    def missing(self, key: str, more: str = "") -> ChunkMissingError:
        """The error for a chunk that must be there."""
        why = "its manifest lists it" if self.manifest else "the store says or has shown that all its chunks were written"
        error = ChunkMissingError(
            f"{self.what}: chunk {key} is not in the store{more}; {self.rows_of(key)} would be read as fill value"
            f" {self.array.fill_value}, but {why}: the store is damaged or was copied in part. {ADVICE}"
        )
        error.may_return = not isinstance(self.array.store, LocalStore)
        return error

    def corrupt(self, key: str, fault: str) -> ChunkCorruptError:
        """The error for a chunk with this fault."""
        return ChunkCorruptError(
            f"{self.what}: chunk {key}, {self.rows_of(key)}, cannot be decoded or is not what was written: {fault}. {ADVICE}"
        )

    def check_length(self, key: str, length: int) -> None:
        """Refuse a file that cannot be a chunk, before it is read. Raises ChunkCorruptError."""
        if length > self.largest_file:
            raise self.corrupt(key, f"{length} bytes found, for {self.decoded_bytes} decoded bytes at most {self.largest_file} expected")

    def check(self, key: str, raw: bytes) -> None:
        """Compare a whole file with what is known of it. Raises ChunkCorruptError, or ChunkMissingError for a chunk inside a shard."""
        self.check_length(key, len(raw))
        if self.manifest is not None and key in self.manifest.files:
            fault = self.manifest.fault(key, raw, sealed=self.sealed)
            if fault:
                raise self.corrupt(key, fault)
        elif self.complete and self.array.shards is not None:
            self.check_inner(key, raw)

    def check_inner(self, key: str, raw: bytes) -> None:
        """Every chunk of a shard that has rows of the table must be in its index, which ends `raw`. Raises ChunkMissingError."""
        absent = inner_absent(self.array, key, raw)
        if absent:
            raise self.missing(key, f" as a whole: chunk {absent[0]} of the {self.chunks_in_file} inside this shard is absent")

    @property
    def index_bytes(self) -> int:
        """Bytes of a shard's index with its checksum."""
        return INDEX_ENTRY * self.chunks_in_file + CRC_BYTES

    @property
    def chunks_in_file(self) -> int:
        """Chunks inside a shard; 1 where there are none."""
        return prod(n // chunk for n, chunk in zip(self.file_shape, self.array.chunks, strict=True))


def chunk_checks(array: "zarr.Array[Any]", what: str, *, complete: bool) -> ChunkChecks:
    """What is known of an array's chunks; its manifest is read. Raises SchemaError where that is damaged."""
    return ChunkChecks(what, array, complete, _manifest_of(array, what), _sealed(array))


def inner_absent(array: "zarr.Array[Any]", key: str, raw: bytes) -> list[int]:
    """Numbers of the chunks inside a shard that hold rows of the table and are absent; `raw` is the file, or its end.

    Nothing where the index is not at the end with a CRC32C, or is damaged: that the decoder says.
    """
    shards = array.shards
    if shards is None or not _usual_index(array):
        return []
    inside = [int(n // chunk) for n, chunk in zip(shards, array.chunks, strict=True)]
    size = INDEX_ENTRY * prod(inside)
    index, checksum = raw[-size - CRC_BYTES : -CRC_BYTES], raw[-CRC_BYTES:]
    if len(index) != size or google_crc32c.value(index) != int.from_bytes(checksum, "little"):
        return []
    offsets = np.frombuffer(index, "<u8")[::2].reshape(inside)
    at = [int(number) for number in re.findall(r"\d+", key)]
    for axis, (n, shard, chunk) in enumerate(zip(array.shape, shards, array.chunks, strict=True)):
        used = max(-(-(int(n) - at[axis] * int(shard)) // int(chunk)), 0)
        offsets = np.where(np.arange(inside[axis]).reshape([-1 if i == axis else 1 for i in range(len(inside))]) < used, offsets, 0)
    return [int(i) for i in np.flatnonzero(offsets == ABSENT)]


def has_checksum(array: "zarr.Array[Any]") -> bool:
    """Whether a codec of the array finds flipped bits: CRC32C and the like, gzip, Zstandard with its checksum."""
    return any(_checks(codec) for codec in _inner_codecs(array.metadata.to_dict()))


def _sealed(array: "zarr.Array[Any]") -> bool:
    codecs: Sequence[Any] = array.metadata.to_dict().get("codecs") or ()  # type: ignore[assignment]
    return bool(codecs) and codecs[-1]["name"] in {"crc32c", "zstd"} and _checks(codecs[-1])


def _checks(codec: Any) -> bool:
    name = str(codec.get("name", codec.get("id", ""))).removeprefix("numcodecs.")
    settings = codec.get("configuration") or codec
    return name in {"crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3", "gzip", "zlib"} or (
        name == "zstd" and settings.get("checksum") is True
    )


def _inner_codecs(document: Any) -> list[Any]:
    codecs = [*(document.get("codecs") or ()), *(document.get("filters") or ())]
    codecs += [] if document.get("compressor") is None else [document["compressor"]]
    if codecs and _settings(codecs[0]).get("name") == "sharding_indexed":
        return _inner_codecs({"codecs": codecs[0]["configuration"]["codecs"]})
    return [_settings(codec) for codec in codecs]


def _settings(codec: Any) -> Any:
    """The document of a codec: format 2 gives NumCodecs' objects."""
    return codec if isinstance(codec, dict) else codec.get_config()


def _usual_index(array: "zarr.Array[Any]") -> bool:
    codecs: Any = array.metadata.to_dict()["codecs"]
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return False
    settings = codecs[0]["configuration"]
    names = [codec["name"] for codec in settings["index_codecs"]]
    return settings.get("index_location", "end") == "end" and names == ["bytes", "crc32c"]


def _manifest_of(array: "zarr.Array[Any]", what: str) -> Manifest | None:
    if isinstance(array.store, LocalStore):
        path = array.store.root / array.path / MANIFEST_NAME
        return guarded(lambda: _local_manifest(path), f"{what}: {path}")
    key = f"{array.path}/{MANIFEST_NAME}" if array.path else MANIFEST_NAME
    found = guarded(lambda: sync(array.store.get(key, default_buffer_prototype())), f"{what}: {key}")
    return None if found is None else parse_manifest(found.to_bytes(), f"{what}: {key}")


def _local_manifest(path: Path) -> Manifest | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return _parsed_once(path, status.st_mtime_ns, status.st_size)


@lru_cache(16)
def _parsed_once(path: Path, mtime: int, size: int) -> Manifest:
    # Every task on a worker opens its piece of the table anew; the manifest is the same each time.
    return parse_manifest(path.read_bytes(), str(path))
