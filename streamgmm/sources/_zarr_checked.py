"""Zarr's own reading, of layouts that are not decoded directly and of buckets: every chunk checked on its way in. Floor 4.

`ArrayReader` is what a source reads an array with; zarr sees the store through `CheckedStore`, which refuses absence, lengths and hashes
before a byte is decoded.
"""

__all__ = ["ArrayReader", "CheckedStore", "array_reader"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import ByteRequest, Store, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, StorePath, WrapperStore

from streamgmm.sources._failures import guarded
from streamgmm.sources._zarr_chunks import ChunkChecks, chunk_checks
from streamgmm.sources._zarr_direct import DirectReader, claimed_bytes, direct_reader, refuse_odd_file

AnyArray = npt.NDArray[np.generic]


class CheckedStore(WrapperStore[Store]):
    """A store whose chunks of one array are refused where they are absent, damaged or no files."""

    def __init__(self, store: Store, checks: ChunkChecks) -> None:
        super().__init__(store)
        self._checks = checks
        self._prefix = f"{checks.array.path}/" if checks.array.path else ""
        self._hashed: set[str] = set()  # files that were read in parts, and compared as a whole before

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """See zarr. Raises ChunkMissingError, ChunkCorruptError, StorageError."""
        relative = key.removeprefix(self._prefix)
        self._look(relative)
        found = await super().get(key, prototype, byte_range)
        if found is None:
            if self._checks.must_be_there(relative):
                raise self._checks.missing(relative)
        elif byte_range is None:
            self._check(relative, found.to_bytes())
        else:
            await self._check_part(key, relative, found, byte_range)
        return found

    def _look(self, relative: str) -> None:
        """Refuse what is no regular file before it is opened: reading a FIFO would wait for ever."""
        store = self._store
        if isinstance(store, LocalStore):
            path = store.root / self._checks.array.path / relative
            try:
                refuse_odd_file(path, relative, self._checks)
            except FileNotFoundError:
                return

    def _check(self, relative: str, raw: bytes) -> None:
        self._checks.check(relative, raw)
        claimed = claimed_bytes(raw, self._checks.outermost)
        if claimed > self._checks.largest_file:
            raise self._checks.corrupt(relative, f"its header says {claimed} bytes decoded, expected {self._checks.decoded_bytes}")

    async def _check_part(self, key: str, relative: str, part: Buffer, byte_range: ByteRequest) -> None:
        manifest = self._checks.manifest
        if manifest is None:
            if self._checks.complete and isinstance(byte_range, SuffixByteRequest):
                self._checks.check_inner(relative, part.to_bytes())
        elif relative in manifest.files and relative not in self._hashed:
            whole = await super().get(key, default_buffer_prototype())
            self._checks.check(relative, b"" if whole is None else whole.to_bytes())
            self._hashed.add(relative)


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Rows of one array, by the quickest way that its layout allows."""

    checks: ChunkChecks
    direct: DirectReader | None
    checked: "zarr.Array[Any]"

    def rows(self, start: int, stop: int, columns: slice | None = None) -> AnyArray:
        """Rows start .. stop-1, of some columns of a 2-D array. Raises ChunkMissingError, ChunkCorruptError, StorageError."""
        rows = None if self.direct is None else self.direct.rows(start, stop)
        if rows is not None:
            return rows if columns is None else np.ascontiguousarray(rows[:, columns])
        where = f"{self.checks.what}, rows {start} to {stop - 1}"
        chosen: Any = slice(start, stop) if columns is None else (slice(start, stop), columns)
        return np.asarray(guarded(lambda: self.checked[chosen], where))


def array_reader(array: "zarr.Array[Any]", what: str, *, complete: bool) -> ArrayReader:
    """A reader that checks what it reads. complete: the store holds every chunk. Raises SchemaError where its manifest is damaged."""
    checks = chunk_checks(array, what, complete=complete)
    path = StorePath(CheckedStore(array.store, checks), array.path)
    return ArrayReader(checks, direct_reader(checks), zarr.Array(zarr.AsyncArray(array.metadata, path)))
