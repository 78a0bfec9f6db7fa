"""A run on disk: configuration, commits, events, lock, model. Floor 6.

A commit is one immutable file (commit_file.py) under a number that is used once, published by an exclusive create (storage/). There is
no pointer to the latest commit: the newest one that verifies wins, broken ones are reported and set aside. Each commit names its
parent, so that two histories in one folder are found. The lock is a courtesy; the exclusive create of the next number is the fence.
"""

__all__ = ["COMMITS_KEPT", "RECORD", "Commit", "Fault", "Run"]

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from streamgmm.commit_file import FORMAT, FORMAT_VERSION, Commit, Link, pack, sealed, unpack
from streamgmm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    DataChangedError,
    RunLockedError,
    RunMismatchError,
    SecurityError,
    StorageError,
    StreamGMMError,
)
from streamgmm.events import Event, ignore
from streamgmm.kept_sample import SAMPLE
from streamgmm.kept_scan import drop_scans
from streamgmm.kept_sums import drop_sums
from streamgmm.open_storage import open_storage
from streamgmm.pending_folder import storage_errors
from streamgmm.state import FitState
from streamgmm.storage._folders import get_folder, put_folder
from streamgmm.storage.base import AbstractStorage
from streamgmm.storage.local_folder import LocalFolder
from streamgmm.strict_zarr import strict_json

COMMITS_KEPT = 3
FOLDER = "commits"
RECORD = "run.json"
MODEL = "model.zarr"
COMMIT_NAME = re.compile(r"(\d{6,})\.zip")
CHANGES = re.compile(r"changes-(\d{6,})\.json")
NUMBERED = re.compile(r"(\d{6,})\.(?:zip|broken)")


@dataclass(frozen=True)
class Fault:
    """What is wrong with one commit."""

    number: int
    name: str
    said: str


class Run:
    """A folder or a URL that owns one fit. Use as a context manager: it holds the run's lock.

    remarks: what opening had to say, for the observer.
    """

    def __init__(self, folder: str | os.PathLike[str] | AbstractStorage) -> None:
        self.storage = folder if isinstance(folder, AbstractStorage) else open_storage(folder, (FOLDER,))
        self.place = self.storage.describe()
        self.folder = Path(self.place)
        self.commits = self.folder / FOLDER
        self.is_local = isinstance(self.storage, LocalFolder)
        self.model_path = self.folder / MODEL
        self.events_path = self.folder / "events.jsonl" if self.is_local else None
        self.remarks: Sequence[Event] = ()
        self._last: Commit | None = None
        self._unsure: dict[bytes, Commit] = {}  # commits of the next number of which the storage did not say that they are there
        self._identity = ""  # SHA-256 of run.json: what its commits name as their run
        self._top: int | None = None  # the highest number that this process knows of

    # ---- lock --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.remarks = self.storage.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.storage.close()

    def clear(self) -> None:
        """Delete what an earlier fit left here, run.json last: killed in between, it is still a run that can be cleared again.

        Only with the lock held.
        """
        assert self.storage.is_open
        for name in self.storage.names(FOLDER):
            self.storage.remove(f"{FOLDER}/{name}")
        with storage_errors(self.folder, "clear"), self.model_folder() as model:
            shutil.rmtree(model, ignore_errors=not model.exists())
        drop_sums(self.storage)
        drop_scans(self.storage)
        for name in (*filter(CHANGES.fullmatch, self.storage.names("")), "events.jsonl", "events.older.jsonl", SAMPLE, RECORD):
            self.storage.remove(name)
        self._last = self._top = None

    @contextlib.contextmanager
    def model_folder(self) -> Iterator[Path]:
        """Where the model is to be read and written; what lies elsewhere is a copy, which goes back if it was changed."""
        if self.is_local:
            yield self.model_path
            return
        with tempfile.TemporaryDirectory(prefix="streamgmm-model-") as scratch:
            path = Path(scratch, MODEL)
            get_folder(self.storage, MODEL, path)
            before = _contents(path)
            yield path
            if _contents(path) != before:
                put_folder(self.storage, MODEL, path, "zarr.json")

    # ---- run.json ----------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether a fit was started here."""
        return RECORD in self.storage.names("")

    def start(self, record: Mapping[str, Any]) -> None:
        """Write run.json once; strict JSON. Raises CheckpointError where commits of a run are there whose run.json is not."""
        if self.numbers():
            raise CheckpointError(f"{self.place} holds commits, but not the {RECORD} that they belong to; put it back, or use a new folder")
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **record}
        raw = json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode()
        try:
            self.storage.create(RECORD, raw)
        except FileExistsError:
            raise self._taken(RECORD) from None
        self._identity, self._top = hashlib.sha256(raw).hexdigest(), max(self._used(), default=0)

    def record(self) -> dict[str, Any]:
        """run.json. Raises CheckpointError where there is none or it is not ours."""
        path = f"{self.place}/{RECORD}"
        try:
            raw = self.storage.read(RECORD)
        except FileNotFoundError:
            raise CheckpointError(f"no run in {self.place}: looked for {RECORD}; start one with streamgmm fit --run {self.place}") from None
        found = strict_json(raw, path)
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
            changed = [
                key for key in changed if not (key.endswith("_ends") and "" in (old.get(key), new.get(key)))
            ]  # not read, then or now
            if not changed:
                continue
            listed = "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in changed[:8])
            if part == "source":
                remedy = f"Use a new run folder{_or_update(old, new)}"
                raise DataChangedError(f"the rows are not those that the run in {self.place} was started with: {listed}. {remedy}")
            raise RunMismatchError(
                f"the run in {self.place} was started with another configuration: {listed}. Use a new run folder; only"
                f" {', '.join(may_change)} may change."
            )

    # ---- what was changed since --------------------------------------------------------------------------------------

    def changes(self) -> dict[str, Any]:
        """Options that a later start gave other values, the latest ones. Raises CheckpointError."""
        found: dict[str, Any] = {}
        for name in sorted(filter(CHANGES.fullmatch, self.storage.names(""))):
            one = strict_json(self.storage.read(name), f"{self.place}/{name}")
            if not isinstance(one, dict):
                raise CheckpointError(f"{self.place}/{name} is not a streamgmm file; move it away, and resume")
            found |= one
        return found

    def change(self, options: Mapping[str, Any]) -> None:
        """Keep other values of options for all later starts. Only with the lock held."""
        assert self.storage.is_open
        if options.items() <= self.changes().items():
            return
        number = max((int(found[1]) for name in self.storage.names("") if (found := CHANGES.fullmatch(name))), default=0) + 1
        self.storage.create(f"changes-{number:06d}.json", json.dumps(dict(options), sort_keys=True, allow_nan=False).encode())

    # ---- writing commits ---------------------------------------------------------------------------------------------

    def commit(self, state: FitState, *, last: bool = False) -> Commit:
        """Write the state as the next commit; then drop commits older than the third newest one that verifies.

        A state that ends the fit, or is said to be the last one, may take the room that was kept for it on a full disk.

        Raises RunLockedError (another process wrote since), StorageError (nothing was saved; the commits before are untouched).
        """
        if self._top is None:
            self.latest()
        self._adopt()
        newest, top = self._last, self._top or 0
        parent, parent_number = (newest.record_hash, newest.number) if newest is not None else ("", 0)
        raw, made = pack(state, Link(top + 1, parent, parent_number, self._identity, self.storage.writer))
        try:
            self._refuse_newer(top)
            self._unsure[raw] = made
            self.storage.create(_name(made.number), raw, last=last or state.outcome is not None)
        except (FileExistsError, RunLockedError) as error:
            if self._adopt():
                return self.commit(state, last=last)
            if isinstance(error, RunLockedError):
                raise
            raise self._taken(_name(made.number)) from error
        self._last, self._top = made, made.number
        self._unsure.clear()
        self._withdraw_if_stale(made.number)
        self._clean_up()
        self.storage.reserve(2 * len(raw))
        return made

    def _refuse_newer(self, top: int) -> None:
        """A process that was frozen while another went on must not write, whatever numbers were cleaned up meanwhile."""
        self.storage.refuse_if_lost()
        newest = max(self._used(), default=0)
        if newest > top:
            raise RunLockedError(
                f"the run in {self.place} has commit {newest}, which another process wrote after this one's {top}; this one stops"
            )

    def _withdraw_if_stale(self, number: int) -> None:
        try:
            self._refuse_newer(number)
        except RunLockedError:
            self.storage.remove(_name(number))
            raise
        except StorageError:
            return  # the commit is there; the next one looks again

    def _adopt(self) -> bool:
        """After failures: where one of them stands under its number all the same, the next commit follows it."""
        if not self._unsure:
            return False
        try:
            made = self._unsure.get(self.storage.read(_name((self._top or 0) + 1)))
        except (FileNotFoundError, CheckpointError):
            return False
        if made is not None:
            self._last, self._top = made, made.number
            self._unsure.clear()
        return made is not None

    def _clean_up(self) -> None:
        """Oldest first, so that whatever ends it leaves the newest."""
        with contextlib.suppress(OSError):
            numbers = self.numbers()
            if len(numbers) > COMMITS_KEPT:
                good = [number for number in reversed(numbers) if self._is_whole(number)][:COMMITS_KEPT]
                for number in numbers if len(good) == COMMITS_KEPT else ():
                    if number < good[-1]:
                        self.storage.remove(_name(number))

    def _is_whole(self, number: int) -> bool:
        """Whether a commit's bytes are those that were written; the numbers in them were looked at when it was made or read."""
        try:
            raw = self.storage.read(_name(number))
            return sealed(raw) or bool(unpack(raw, number))
        except (StreamGMMError, FileNotFoundError):
            return False

    def _taken(self, name: str) -> RunLockedError:
        return RunLockedError(f"{self.place}/{name} was written by another process meanwhile; this one stops")

    # ---- reading commits ---------------------------------------------------------------------------------------------

    def latest(self, observe: Callable[[Event], None] = ignore) -> Commit | None:
        """The newest commit that verifies; broken ones are reported, and set aside where the lock is held. None where there is none.

        Raises CheckpointCorruptError where there are commits and none verifies, CheckpointError where they tell two histories.
        """
        good, faults = self.examine(COMMITS_KEPT)
        if faults and not good:  # they keep their names: a run of which nothing is left must not look like a new one
            listed = "; ".join(f"{fault.name}: {fault.said}" for fault in faults)
            raise CheckpointCorruptError(f"no commit of {self.place} verifies: {listed}. Start again in a new run folder.")
        for fault in faults:
            said = f"commit {self.place}/{fault.name} is broken and stepped over: {fault.said}"
            observe(Event("warning", said, {"commit": fault.number}))
        for missing in self.check_chain(good):
            observe(Event("warning", missing, {}))
        if self.storage.is_open:
            self._set_aside(faults)
        self._top, self._last = max(self._used(), default=0), good[0] if good else None
        return self._last

    def examine(self, most: int) -> tuple[list[Commit], list[Fault]]:
        """The newest commits that verify, at most so many, the newest first; and what is wrong with those between them.

        Raises CheckpointVersionError, SecurityError, StorageError.
        """
        good: list[Commit] = []
        faults: list[Fault] = []
        self._identity = self._hash_of_record()
        for number in reversed(self.numbers()):
            if len(good) == most:
                break
            try:
                good.append(self._verified(number))
            except (CheckpointVersionError, SecurityError):
                raise
            except (CheckpointError, FileNotFoundError) as error:
                faults.append(Fault(number, _name(number), str(error)))
        return good, faults

    def _verified(self, number: int) -> Commit:
        commit = unpack(self.storage.read(_name(number)), number)
        own, found = self._identity, commit.link.run
        if found not in ("", own):
            raise CheckpointCorruptError(f"it belongs to another run: its run.json has SHA-256 {found[:12]}, this one {own[:12] or 'none'}")
        return commit

    def check_chain(self, newest_first: Sequence[Commit]) -> list[str]:
        """What is missing between commits, in words. Raises CheckpointError where two of them tell different histories."""
        missing, used = [], set(self._used())
        if 0 < len(used) < COMMITS_KEPT and min(used) > 1:  # never fewer are left by a clean-up, however it ended
            missing.append(f"commits of {self.place} are missing: {len(used)} of the {COMMITS_KEPT} that are kept are there")
        for child, older in pairwise(newest_first):
            link = child.link
            if link.parent_number < older.number or (link.parent_number == older.number and link.parent != older.record_hash):
                raise CheckpointError(
                    f"{self.place} holds two histories: {_name(child.number)} follows commit {link.parent_number}"
                    f" ({link.parent[:12] or 'none'}), but {_name(older.number)} is {older.record_hash[:12]} and follows commit"
                    f" {older.link.parent_number} ({older.link.parent[:12] or 'none'}); move one of the two files away, and resume"
                )
            lost = [number for number in range(older.number + 1, child.number) if number not in used]
            if lost:
                missing.append(f"commit {lost[0]} of {self.place} is missing, between {older.number} and {child.number}, which are whole")
        return missing

    def _hash_of_record(self) -> str:
        try:
            return hashlib.sha256(self.storage.read(RECORD)).hexdigest()
        except FileNotFoundError:
            return ""

    def numbers(self) -> list[int]:
        """Numbers of the commits that are there, verified or not."""
        return sorted(int(match[1]) for name in self.storage.names(FOLDER) if (match := COMMIT_NAME.fullmatch(name)))

    def set_aside(self) -> list[str]:
        """Names of the commits that were found broken and renamed."""
        return [f"{FOLDER}/{name}" for name in self.storage.names(FOLDER) if name.endswith(".broken")]

    def _used(self) -> list[int]:
        """Numbers that no commit may take any more, those of broken ones included."""
        return [int(match[1]) for name in self.storage.names(FOLDER) if (match := NUMBERED.fullmatch(name))]

    def _set_aside(self, broken: Iterable[Fault]) -> None:
        """Broken commits keep their bytes under another name, where they do not count among the good ones that are kept."""
        for fault in broken:
            with contextlib.suppress(OSError):
                self.storage.rename(fault.name, fault.name.removesuffix(".zip") + ".broken")


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06d}.zip"


def _or_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, now = old.get("n_rows"), new.get("n_rows")
    grown = type(before) is int and type(now) is int and before < now
    return ", or, where rows were appended, streamgmm update: it reads only those." if grown else "."


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
