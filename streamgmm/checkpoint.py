"""A run on disk: configuration, commits, events, lock, model. Floor 5.

A commit is one immutable zip (a Zarr v3 group and a JSON record with the parent's hash and the SHA-256 of every member) under a
name that is used once. It is written beside its place, synced, and published by an exclusive link; then the folder is synced. There
is no pointer to the latest commit: the newest one that verifies wins, broken ones are reported and stepped over.
"""

__all__ = ["COMMITS_KEPT", "Commit", "Run"]

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from zarr.storage import MemoryStore

from streamgmm.arrays import FloatArray
from streamgmm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    DataChangedError,
    RunLockedError,
    RunMismatchError,
    SecurityError,
)
from streamgmm.events import Event, ignore
from streamgmm.pending_folder import storage_errors
from streamgmm.state import FitState
from streamgmm.strict_zarr import MAX_MEMBER_BYTES, read_group, strict_json

try:
    import fcntl
except ImportError:  # pragma: no cover  (not on Windows: there the exclusive link alone guards)
    fcntl = None  # type: ignore[assignment]

FORMAT = "streamgmm-run"
FORMAT_VERSION = 1
COMMITS_KEPT = 3
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every zip entry: equal states have equal bytes
COMMIT_NAME = re.compile(r"(\d{6})\.zip")


@dataclass(frozen=True, eq=False)
class Commit:
    """A verified commit: its number, the hash of its record and the state it holds."""

    number: int
    record_hash: str
    state: FitState


class Run:
    """A folder that owns one fit. Use as a context manager: it holds the run's lock."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.commits = self.folder / "commits"
        self.model_path = self.folder / "model.zarr"
        self.events_path = self.folder / "events.jsonl"
        self._lock: io.TextIOWrapper | None = None
        self._last: Commit | None = None

    # ---- lock --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with storage_errors(self.folder):
            self.commits.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (self.folder / "lock").open("a+", encoding="utf-8")
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.seek(0)
                owner, since = self._lock.read().strip() or "another process", _changed_at(self._lock)
                self._lock.close()
                raise RunLockedError(f"the run in {self.folder} is in use by {owner} since {since}; wait for it or stop it") from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._lock.flush()
        self._remove_leftovers()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _remove_leftovers(self) -> None:
        for path in self.commits.glob(".pending-*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def clear(self) -> None:
        """Delete what an earlier fit left here, run.json last: killed in between, it is still a run that can be cleared again.

        Only with the lock held.
        """
        assert self._lock is not None
        with storage_errors(self.folder):
            for path in self.commits.iterdir():
                path.unlink()
            if self.model_path.exists():
                shutil.rmtree(self.model_path)
            for path in (self.events_path, self.folder / "run.json"):
                path.unlink(missing_ok=True)
            _sync_folder(self.folder)
        self._last = None

    # ---- run.json ----------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether a fit was started here."""
        return (self.folder / "run.json").is_file()

    def start(self, record: Mapping[str, Any]) -> None:
        """Write run.json once; strict JSON."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **record}
        raw = json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode()
        self._publish(self.folder / "run.json", raw)

    def record(self) -> dict[str, Any]:
        """run.json. Raises CheckpointError where there is none or it is not ours."""
        path = self.folder / "run.json"
        if not path.is_file():
            raise CheckpointError(f"no run in {self.folder}: looked for {path.name}; start one with streamgmm fit --run {self.folder}")
        found = strict_json(path.read_bytes(), str(path))
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise CheckpointError(f"{path} is not a streamgmm file")
        if not isinstance(found.get("format_version"), int) or found["format_version"] > FORMAT_VERSION:
            version = found.get("format_version")
            reads = f"this release reads up to {FORMAT_VERSION}"
            raise CheckpointVersionError(f"{path}: format version {version!r}, {reads}; upgrade streamgmm")
        return found

    def check_same(self, record: Mapping[str, Any], may_change: tuple[str, ...], defaults: Mapping[str, Any] | None = None) -> None:
        """Refuse a configuration or data that differ from run.json's. Raises RunMismatchError or DataChangedError naming each key.

        defaults: of the configuration; an option that is younger than the run stands in its record no more than in its command.
        """
        found = self.record()
        found["configuration"] = {**(defaults or {}), **found.get("configuration", {})}
        for part in ("configuration", "source"):
            old, new = _flat(found.get(part, {})), _flat(record.get(part, {}))
            changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key) and key not in may_change]
            if not changed:
                continue
            listed = "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in changed[:8])
            if part == "source":
                raise DataChangedError(
                    f"the rows are not those that the run in {self.folder} was started with: {listed}. Use a new run folder."
                )
            raise RunMismatchError(
                f"the run in {self.folder} was started with another configuration: {listed}. Use a new run folder; only"
                f" {', '.join(may_change)} may change."
            )

    # ---- commits -----------------------------------------------------------------------------------------------------

    def commit(self, state: FitState) -> Commit:
        """Write the state as the next commit and drop commits older than the third newest verified one."""
        number = (self.numbers() or [0])[-1] + 1
        parent = self._last.record_hash if self._last is not None else ""
        raw, record_hash = _pack(state, number, parent)
        self._publish(self.commits / f"{number:06d}.zip", raw)
        self._last = Commit(number, record_hash, state)
        for old in self.numbers()[:-COMMITS_KEPT]:
            with contextlib.suppress(OSError):
                (self.commits / f"{old:06d}.zip").unlink()
        return self._last

    def latest(self, observe: Callable[[Event], None] = ignore) -> Commit | None:
        """The newest commit that verifies; broken ones are reported. None where there is none at all.

        Raises CheckpointCorruptError where there are commits and none verifies.
        """
        faults: dict[Path, str] = {}
        for number in reversed(self.numbers()):
            path = self.commits / f"{number:06d}.zip"
            try:
                self._last = _unpack(path, number)
            except (CheckpointVersionError, SecurityError):
                raise
            except (CheckpointError, OSError) as error:
                faults[path] = f"{path.name}: {error}"
                observe(Event("warning", f"commit {path} is broken and stepped over: {error}", {"commit": number}))
            else:
                self._set_aside(faults)
                return self._last
        if faults:  # they keep their names: a run of which nothing is left must not look like a new one
            listed = "; ".join(faults.values())
            raise CheckpointCorruptError(f"no commit of {self.folder} verifies: {listed}. Start again in a new run folder.")
        return None

    def numbers(self) -> list[int]:
        """Numbers of the commits that are there, verified or not."""
        if not self.commits.is_dir():
            return []
        return sorted(int(match[1]) for entry in self.commits.iterdir() if (match := COMMIT_NAME.fullmatch(entry.name)))

    def _set_aside(self, broken: Iterable[Path]) -> None:
        """Broken commits keep their bytes under another name, where they do not count among the good ones that are kept."""
        for path in broken if self._lock is not None else ():
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".broken"))

    def _publish(self, target: Path, raw: bytes) -> None:
        """Write, sync, link under a name that nobody has, sync the folder: all or nothing, whoever else tries."""
        pending = target.with_name(f".pending-{os.getpid()}-{target.name}")
        with storage_errors(target):
            try:
                with pending.open("wb") as file:
                    file.write(raw)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(pending, target)
                except FileExistsError:
                    raise RunLockedError(f"{target} was written by another process meanwhile; this one stops") from None
            finally:
                with contextlib.suppress(OSError):
                    pending.unlink()
            _sync_folder(target.parent)


def _changed_at(file: io.TextIOWrapper) -> str:
    """When the owner of a lock wrote its name, for people to read; nothing is decided by it."""
    return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC).isoformat(sep=" ", timespec="seconds")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def _pack(state: FitState, number: int, parent: str) -> tuple[bytes, str]:
    arrays, described = state.to_record()
    members = _group_members(arrays)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(members.items())}
    record = {"format": FORMAT, "format_version": FORMAT_VERSION, "number": number, "parent": parent, "state": described, "sha256": hashes}
    raw = json.dumps(record, indent=1, sort_keys=True, allow_nan=False).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted({**members, "record.json": raw}.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return buffer.getvalue(), hashlib.sha256(raw).hexdigest()


def _group_members(arrays: Mapping[str, FloatArray]) -> dict[str, bytes]:
    held: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(held), zarr_format=3)
    with zarr.config.set({"array.write_empty_chunks": True}):
        for name, value in arrays.items():
            chunks = tuple(max(n, 1) for n in value.shape)
            array = group.create_array(name, shape=value.shape, dtype="float64", chunks=chunks, compressors=None)
            array[...] = value
    return {name: content.to_bytes() for name, content in held.items()}


def _unpack(path: Path, number: int) -> Commit:
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_commit(archive, number)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointCorruptError(f"not a whole zip file ({error})") from error


def _read_commit(archive: zipfile.ZipFile, number: int) -> Commit:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    for name in names:
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise SecurityError(f"{archive.filename}: member {name!r} would lie outside of the commit; do not use this run")
    if len(set(names)) != len(names) or any(entry.file_size > MAX_MEMBER_BYTES for entry in entries):
        raise CheckpointCorruptError("members stand twice or are too large")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointCorruptError("its members are compressed, which streamgmm does not write")
    if "record.json" not in names:
        raise CheckpointError("not a streamgmm file: it holds no record.json")
    raw = archive.read("record.json")
    record = _checked_record(strict_json(raw, "record.json"), number)
    hashes: Mapping[str, str] = record["sha256"]
    if set(hashes) != set(names) - {"record.json"}:
        raise CheckpointCorruptError("its members are not those of its record")
    for name, expected in hashes.items():
        found = hashlib.sha256(archive.read(name)).hexdigest()
        if found != expected:
            raise CheckpointCorruptError(f"{name}: SHA-256 {found[:12]}, recorded {str(expected)[:12]}")
    _, arrays = read_group(hashes, archive.read)
    state = FitState.from_record(arrays, record["state"])
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise CheckpointCorruptError("its numbers are not finite")
    return Commit(number, hashlib.sha256(raw).hexdigest(), state)


def _checked_record(record: Any, number: int) -> dict[str, Any]:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CheckpointError("not a streamgmm file")
    version = record.get("format_version")
    if type(version) is not int or version > FORMAT_VERSION:
        raise CheckpointVersionError(f"format version {version!r}, this release reads up to {FORMAT_VERSION}; upgrade streamgmm")
    if record.get("number") != number or not isinstance(record.get("sha256"), dict) or not isinstance(record.get("state"), dict):
        raise CheckpointCorruptError("its record does not describe this commit")
    return record
