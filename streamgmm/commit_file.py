"""One commit as bytes: a Zarr v3 group and a JSON record in a zip, sealed. Floor 5.

The record names its parent, its run and the SHA-256 of every member; the zip's comment is the SHA-256 of all bytes before it, so that
no byte can change without being found, those that mean nothing to a zip included. This module knows no files and no storage.
"""

__all__ = ["FORMAT", "FORMAT_VERSION", "Commit", "Link", "checked_names", "group_members", "pack", "sealed", "unpack", "zipped"]

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from streamgmm.arrays import FloatArray
from streamgmm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    NumericalError,
    SecurityError,
    StreamGMMError,
)
from streamgmm.state import FitState
from streamgmm.strict_zarr import MAX_MEMBER_BYTES, read_group, strict_json

FORMAT = "streamgmm-run"
FORMAT_VERSION = 1
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every zip entry: equal states have equal bytes
RECORD = "record.json"
SEAL = b"sha256:"
DIGITS = 64
MOST_MEMBERS = 10_000


@dataclass(frozen=True)
class Link:
    """A commit's place in its chain. run: SHA-256 of run.json. writer: who wrote it, where the storage tells writers apart."""

    number: int
    parent: str = ""
    parent_number: int = 0
    run: str = ""
    writer: str = ""


@dataclass(frozen=True, eq=False)
class Commit:
    """A verified commit: the hash of its record, the state it holds, its place in the chain."""

    link: Link
    record_hash: str
    state: FitState

    @property
    def number(self) -> int:
        """Its number, used once."""
        return self.link.number


# ---- writing ---------------------------------------------------------------------------------------------------------------------


def pack(state: FitState, link: Link) -> tuple[bytes, Commit]:
    """The bytes of a commit, and what `unpack` is going to find in them."""
    arrays, described = state.to_record()
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise NumericalError("the state holds numbers that are not finite, which no reader takes: it is not saved")
    members = group_members(arrays)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(members.items())}
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "number": link.number,
        "parent": link.parent,
        "parent_number": link.parent_number,
        "run": link.run,
        "sealed": True,
        "sha256": hashes,
        "state": described,
        **({"writer": link.writer} if link.writer else {}),
    }
    raw = json.dumps(record, indent=1, sort_keys=True, allow_nan=False).encode()
    return zipped({**members, RECORD: raw}), Commit(link, hashlib.sha256(raw).hexdigest(), state)


def group_members(arrays: Mapping[str, FloatArray]) -> dict[str, bytes]:
    """Members of a Zarr v3 group of uncompressed arrays of one chunk each: zarr's metadata, and the numbers as they are."""
    members = {"zarr.json": _metadata_of_group()}
    for name, value in arrays.items():
        members[f"{name}/zarr.json"] = _metadata_of_array(value.shape)
        if value.size:
            members["/".join((name, "c", *("0" * value.ndim)))] = value.astype("<f8").tobytes()
    return members


@lru_cache
def _metadata_of_group() -> bytes:
    held: dict[str, Any] = {}
    zarr.create_group(MemoryStore(held), zarr_format=3)
    return _bytes_of(held["zarr.json"])


@lru_cache(maxsize=1024)
def _metadata_of_array(shape: tuple[int, ...]) -> bytes:
    """As zarr writes it; that takes milliseconds, and a run's commits have few shapes."""
    held: dict[str, Any] = {}
    chunks = tuple(max(n, 1) for n in shape)
    zarr.create_array(MemoryStore(held), shape=shape, dtype="float64", chunks=chunks, compressors=None, zarr_format=3)
    return _bytes_of(held["zarr.json"])


def _bytes_of(buffer: Any) -> bytes:
    content: bytes = buffer.to_bytes()
    return content


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip of members as they are, sealed by the SHA-256 of its bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)
        archive.comment = SEAL + b"0" * DIGITS
    body = buffer.getvalue()[:-DIGITS]
    return body + hashlib.sha256(body).hexdigest().encode()


def sealed(raw: bytes) -> bool:
    """Whether the bytes are those that were written."""
    return _has_seal(raw) and hashlib.sha256(raw[:-DIGITS]).hexdigest().encode() == raw[-DIGITS:]


def _has_seal(raw: bytes) -> bool:
    return raw[-DIGITS - len(SEAL) : -DIGITS] == SEAL


# ---- reading ---------------------------------------------------------------------------------------------------------------------


def unpack(raw: bytes, number: int) -> Commit:
    """The commit of this number. Raises CheckpointError (also its heirs) or SecurityError, and nothing else, whatever the bytes are."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return _read(archive, raw, number)
    except (CheckpointVersionError, SecurityError) as error:
        if _has_seal(raw) and not sealed(raw):  # damage, no newer release and no attack
            raise CheckpointCorruptError(f"its seal is broken, and {error}") from error
        raise
    except StreamGMMError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, NotImplementedError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointCorruptError(f"not a whole zip file ({error})") from error


def _read(archive: zipfile.ZipFile, raw: bytes, number: int) -> Commit:
    names = checked_names(archive.infolist())
    text = archive.read(RECORD)
    record = _checked_record(strict_json(text, RECORD), number)
    hashes: Mapping[str, str] = record["sha256"]
    if set(hashes) != names - {RECORD}:
        raise CheckpointCorruptError("its members are not those of its record")
    for name, expected in hashes.items():
        found = hashlib.sha256(archive.read(name)).hexdigest()
        if found != expected:
            raise CheckpointCorruptError(f"{name}: SHA-256 {found[:12]}, recorded {str(expected)[:12]}")
    _, arrays = read_group(hashes, archive.read)
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise CheckpointCorruptError("its numbers are not finite")
    state = FitState.from_record(arrays, record["state"])
    _check_seal(raw, record)
    return Commit(_link(record), hashlib.sha256(text).hexdigest(), state)


def checked_names(entries: list[zipfile.ZipInfo]) -> set[str]:
    """Names of the members. Raises SecurityError (they lead outside), CheckpointError (not what is written here)."""
    names = [entry.filename for entry in entries]
    for name in names:
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise SecurityError(f"member {name!r} would lie outside of the commit; do not use this run")
    if len(set(names)) != len(names) or len(names) > MOST_MEMBERS or any(entry.file_size > MAX_MEMBER_BYTES for entry in entries):
        raise CheckpointCorruptError("members stand twice, are too many or too large")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointCorruptError("its members are compressed, which streamgmm does not write")
    if RECORD not in names:
        raise CheckpointError(f"not a streamgmm file: it holds no {RECORD}")
    return set(names)


def _checked_record(record: Any, number: int) -> dict[str, Any]:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CheckpointError("not a streamgmm file")
    version = record.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointCorruptError(f"format version {version!r} is not a version")
    if version > FORMAT_VERSION:
        raise CheckpointVersionError(f"format version {version!r}, this release reads up to {FORMAT_VERSION}; upgrade streamgmm")
    if record.get("number") != number or not isinstance(record.get("sha256"), dict) or not isinstance(record.get("state"), dict):
        raise CheckpointCorruptError("its record does not describe this commit")
    return record


def _check_seal(raw: bytes, record: Mapping[str, Any]) -> None:
    """Commits of the first release have no seal; whatever says that it has one, needs a good one."""
    if (record.get("sealed") or _has_seal(raw)) and not sealed(raw):
        found = hashlib.sha256(raw[:-DIGITS]).hexdigest()
        raise CheckpointCorruptError(f"its seal is broken: SHA-256 {found[:12]}, recorded {raw[-DIGITS:][:12].decode('ascii', 'replace')}")


def _link(record: Mapping[str, Any]) -> Link:
    found = Link(
        record["number"],
        record.get("parent", ""),
        record.get("parent_number", max(record["number"] - 1, 0)),
        record.get("run", ""),
        record.get("writer", ""),
    )
    texts = (found.parent, found.run, found.writer)
    if type(found.parent_number) is not int or not all(isinstance(text, str) for text in texts):
        raise CheckpointCorruptError("its record does not say which commit it follows")
    return found
