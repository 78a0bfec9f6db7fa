"""Manifests: what every chunk file of an array must be. Floor 2.

A chunk that is not there is read as its fill value, and most codecs decode damaged bytes without a word. A manifest beside the metadata of
an array names every chunk file with its length, its last four bytes and its SHA-256, so that absence, damage and two files that changed
places are found at the first read. It lies in the folder of each array, not in the root of a store: there it travels with a column that is
copied or replaced, and programs that list the members of a group do not stumble over a file that is none.

It is NOT a signature: whoever may write the store may write its manifest.
"""

__all__ = [
    "MANIFEST_NAME",
    "FileEntry",
    "Manifest",
    "array_folders",
    "parse_manifest",
    "scan_files",
    "without_attributes",
    "write_manifest",
]

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from streamgmm.errors import ConfigError, SchemaError, StorageError
from streamgmm.pending_folder import storage_errors
from streamgmm.strict_zarr import strict_json

MANIFEST_NAME = "streamgmm-manifest.json"
FORMAT, VERSION = "streamgmm-manifest", 1
LARGEST = 256 * 2**20  # bytes; an entry takes about a hundred
PIECE = 2**20
TAIL = 4  # a codec that ends a file with its checksum ends it with at least so many bytes
DOCUMENTS = ("zarr.json", ".zarray")


class FileEntry(NamedTuple):
    """What one chunk file must be. tail: its last four bytes, fewer where it is shorter; both hashes are hexadecimal."""

    length: int
    tail: str
    sha256: str

    @classmethod
    def of(cls, raw: bytes) -> "FileEntry":
        """The entry of these bytes."""
        return cls(len(raw), raw[-TAIL:].hex(), hashlib.sha256(raw).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The chunk files of an array by key (`c/0/1`), and its metadata document without the attributes."""

    files: Mapping[str, FileEntry]
    metadata: Mapping[str, Any]

    def fault(self, key: str, raw: bytes, *, sealed: bool) -> str:
        """What is wrong with the bytes of a listed file, "" if nothing.

        sealed: its codec ends it with a checksum of the rest and checks it, so that length and tail identify it; else it is hashed.
        """
        entry = self.files[key]
        if len(raw) != entry.length:
            return f"{len(raw)} bytes found, {entry.length} expected"
        if raw[-TAIL:].hex() != entry.tail:
            return f"{entry.length} bytes as expected, but they end with {raw[-TAIL:].hex()} instead of {entry.tail}"
        if sealed:
            return ""
        found = hashlib.sha256(raw).hexdigest()
        return "" if found == entry.sha256 else f"{entry.length} bytes as expected, but of SHA-256 {found} instead of {entry.sha256}"

    def to_json(self) -> bytes:
        """Strict JSON, the same for the same files, with a hash of its own."""
        content = {"files": {key: list(entry) for key, entry in sorted(self.files.items())}, "metadata": dict(self.metadata)}
        document = {"format": FORMAT, "version": VERSION, "sha256": _hash_of(content), **content}
        return _dumped(document) + b"\n"


def parse_manifest(raw: bytes, where: str) -> Manifest:
    """The manifest in these bytes. Raises SchemaError where they are damaged or of a newer version."""
    document = strict_json(raw, where, limit=LARGEST, refusal=SchemaError)
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("version") != VERSION:
        raise SchemaError(f"{where}: not a manifest of version {VERSION}; `streamgmm manifest STORE --overwrite` makes a new one")
    content = {key: document.get(key) for key in ("files", "metadata")}
    if _hash_of(content) != document.get("sha256"):
        raise SchemaError(f"{where}: the manifest is damaged, its own hash is wrong. Restore it, or make a new one of a store you trust.")
    try:
        files = {str(key): FileEntry(int(length), str(tail), str(sha256)) for key, (length, tail, sha256) in document["files"].items()}
        return Manifest(files, dict(document["metadata"]))
    except (TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{where}: not a manifest ({error}); `streamgmm manifest STORE --overwrite` makes a new one") from error


def scan_files(folder: Path) -> Manifest:
    """The manifest of the array in a local folder, as it is now: every chunk file is read. Raises StorageError."""
    try:
        document = next(folder / name for name in DOCUMENTS if (folder / name).is_file())
        metadata = strict_json(document.read_bytes(), str(document), refusal=SchemaError)
        files = {path.relative_to(folder).as_posix(): _entry(path) for path in _chunk_files(folder)}
    except OSError as error:
        raise StorageError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error
    return Manifest(files, without_attributes(metadata))


def without_attributes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A metadata document without what may change while the rows stay the same."""
    return {key: value for key, value in metadata.items() if key != "attributes"}


def write_manifest(folder: Path, manifest: Manifest, *, overwrite: bool = False) -> int:
    """Write it into the folder of its array, whole or not at all; its bytes. Raises ConfigError where one is there, StorageError."""
    target = folder / MANIFEST_NAME
    raw = manifest.to_json()
    pending = folder / f".{MANIFEST_NAME}.{secrets.token_hex(4)}"
    with storage_errors(target):
        try:
            _write_synced(pending, raw)
            if overwrite:
                pending.replace(target)
            else:
                os.link(pending, target)
        except FileExistsError as error:
            raise ConfigError(f"{target} exists already; use --overwrite to describe the store as it is now") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                pending.unlink()
        _sync_folder(folder)
    return len(raw)


def array_folders(store: Path) -> Iterator[Path]:
    """Folders of the arrays of a local store, sorted; what is inside an array is its own affair."""
    if any((store / name).is_file() and _is_array(store / name) for name in DOCUMENTS):
        yield store
        return
    for entry in sorted(store.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
            yield from array_folders(entry)


def _is_array(document: Path) -> bool:
    try:
        return document.name == ".zarray" or json.loads(document.read_bytes()).get("node_type") == "array"
    except (ValueError, AttributeError, RecursionError):
        return False


def _chunk_files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            if not name.startswith((".z", f".{MANIFEST_NAME}")) and name not in {"zarr.json", MANIFEST_NAME}:
                yield Path(parent, name)


def _entry(path: Path) -> FileEntry:
    if not stat.S_ISREG(path.stat().st_mode):
        raise StorageError(f"{path} is no regular file, which a chunk must be; remove it or restore the chunk")
    digest, length, tail = hashlib.sha256(), 0, b""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            length += len(piece)
            tail = (tail + piece)[-TAIL:]
    return FileEntry(length, tail.hex(), digest.hexdigest())


def _hash_of(content: Any) -> str:
    return hashlib.sha256(_dumped(content)).hexdigest()


def _dumped(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _write_synced(path: Path, raw: bytes) -> None:
    with path.open("xb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
