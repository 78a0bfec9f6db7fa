"""The lease of a run in an object store: whoever comes second is told who works on it. Floor 4.

An object store has no locks. The owner of the newest lease rewrites it every second; whoever wants the run looks whether it changes. One
that changes is held; one that stays as it is for `SILENCE` seconds, or whose process is gone, is followed by a lease of the next number,
by an exclusive create. A process is looked for only among those that it signed to be one of. Leases are told apart by their bytes: the
time in them is for people to read, and no clock but this process's own, monotonic one decides anything. An owner that was frozen finds
the next lease before it commits; the exclusive create of the commit's number is the fence all the same.
"""

__all__ = ["Lease"]

import contextlib
import json
import os
import re
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, final

from streamgmm.errors import RunLockedError, StorageError
from streamgmm.events import Event
from streamgmm.storage._lock import is_gone
from streamgmm.strict_zarr import strict_json

FOLDER = "lease"
NAME = re.compile(r"(\d{6,})\.json")
BEAT = 1.0  # seconds between two beats
SILENCE = 10.0  # seconds without one after which an owner counts as gone
LOOK = 0.2  # seconds between two looks at a lease
LEAVING = 2.0  # seconds that giving it back may take

_given_back: set[tuple[str, int]] = set()  # by writers of this process: a slow store may not say so of them yet


class Place(Protocol):
    """Where leases lie."""

    def create(self, name: str, content: bytes) -> None:
        """Raises FileExistsError."""

    def overwrite(self, name: str, content: bytes) -> None:
        """Whatever is there."""

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""

    def names(self, folder: str) -> list[str]:
        """What lies in a folder."""

    def remove(self, name: str) -> None:
        """What is not there is no error."""

    def describe(self) -> str:
        """For messages."""


@final
class Lease:
    """Of one process on one run. writer: tells it from all others."""

    def __init__(self, place: Place, writer: str) -> None:
        self._place, self._writer = place, writer
        self._number = 0
        self._leave = threading.Event()
        self._beating: threading.Thread | None = None

    def take(self) -> list[Event]:
        """Become the owner; remarks for the observer. Raises RunLockedError naming the owner, StorageError."""
        number = self._newest()
        remarks = self._wait_for_silence(number) if number else []
        self._number, self._leave = number + 1, threading.Event()
        try:
            self._place.create(_name(self._number), self._content(0))
        except FileExistsError:
            raise self._taken(self._number) from None
        self._beating = threading.Thread(target=self._beat, args=(self._number, self._leave), name="streamgmm-lease", daemon=True)
        self._beating.start()
        try:
            self._remove_older()
        except BaseException:
            self.release()
            raise
        return remarks

    def _remove_older(self) -> None:
        with contextlib.suppress(StorageError):  # the next owner tries again
            for older in self._numbers():
                if older < self._number:
                    self._place.remove(_name(older))

    def release(self) -> None:
        """Give it back, without waiting long for a store that does not answer."""
        beating, self._beating = self._beating, None
        if beating is not None:
            _given_back.add((self._writer, self._number))
            self._leave.set()
            beating.join(LEAVING)

    def check(self) -> None:
        """Raises RunLockedError where another process has taken over."""
        newest = self._newest()
        if self._beating is not None and newest > self._number:
            raise self._taken(newest)

    def _beat(self, number: int, leave: threading.Event) -> None:
        """In a thread of its own; the last beat gives the lease back."""
        beat = 0
        while not leave.wait(BEAT):
            beat += 1
            with contextlib.suppress(StorageError):
                self._place.overwrite(_name(number), self._content(beat))
        with contextlib.suppress(StorageError):
            self._place.overwrite(_name(number), self._content(beat, released=True))

    def _wait_for_silence(self, number: int) -> list[Event]:
        """Until the newest lease may be followed. Raises RunLockedError where its owner is alive."""
        first = self._read(number)
        owner = _signed(first)
        if not first or _is_free(owner, number):
            return []
        began = time.monotonic()
        while not _is_known_gone(owner) and time.monotonic() - began < SILENCE:
            time.sleep(LOOK)
            now = self._read(number)
            if _is_free(_signed(now), number):
                return []
            if now != first:
                raise self._taken(number)
        said = f"the run in {self._place.describe()} was in use by {_said(owner)}, which is gone or silent; it goes on here"
        return [Event("start", said, {"owner_before": _said(owner)})]

    def _taken(self, number: int) -> RunLockedError:
        owner = _said(_signed(self._read(number)))
        return RunLockedError(f"the run in {self._place.describe()} is in use by {owner}; wait for it or stop it")

    def _read(self, number: int) -> bytes:
        try:
            return self._place.read(_name(number))
        except FileNotFoundError:
            return b""

    def _numbers(self) -> list[int]:
        return [int(found[1]) for name in self._place.names(FOLDER) if (found := NAME.fullmatch(name))]

    def _newest(self) -> int:
        return max(self._numbers(), default=0)

    def _content(self, beat: int, *, released: bool = False) -> bytes:
        at = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        who = {"writer": self._writer, "process": os.getpid(), **_whereabouts()}
        return json.dumps({**who, "beat": beat, "at": at, "released": released}).encode()


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06d}.json"


def _signed(raw: bytes) -> dict[str, Any]:
    try:
        found = strict_json(raw, "lease")
    except (StorageError, ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(owner: dict[str, Any]) -> str:
    if not isinstance(owner.get("process"), int) or not isinstance(owner.get("host"), str):
        return "another process"
    return f"process {owner['process']} on {owner['host'][:100]} (last heard of at {str(owner.get('at'))[:40]})"


def _is_free(owner: dict[str, Any], number: int) -> bool:
    return owner.get("released") is True or (owner.get("writer"), number) in _given_back


def _is_known_gone(owner: dict[str, Any]) -> bool:
    """Containers and cloned machines share host names: their processes are not to be seen from here, and may be well."""
    process, here = owner.get("process"), _whereabouts()
    is_here = all(here.values()) and all(owner.get(name) == value for name, value in here.items())
    return is_here and isinstance(process, int) and is_gone(process)


def _whereabouts() -> dict[str, str]:
    """Where a process number means something; "" for what this system does not tell."""
    here = dict.fromkeys(("boot", "pids"), "")
    with contextlib.suppress(OSError):
        here["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        here["pids"] = str(Path("/proc/self/ns/pid").readlink())
    return {"host": socket.gethostname(), **here}
