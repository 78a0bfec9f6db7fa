"""The lock of a run's folder: whoever comes second is told at once who holds it. Floor 4.

It is NOT what keeps two writers apart where it fails (some network file systems have no locks): the exclusive link of every commit is.
"""

__all__ = ["Lock", "is_gone"]

import contextlib
import errno
import os
import re
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from streamgmm.errors import RunLockedError
from streamgmm.events import Event
from streamgmm.storage.disk import Disk

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
OWNER = re.compile(r"process (\d+) on (.+)")
WAITS = 20
SECONDS_OF_A_WAIT = 0.05


@final
class Lock:
    """The file `lock` of a folder. It dies with its process, however that ends."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._descriptor is not None

    def take(self) -> list[Event]:
        """Lock, and sign; remarks for the observer. Raises RunLockedError naming host, process and since when."""
        descriptor = self._disk.open_for_locking(self._folder / "lock")
        try:
            remarks = self._locked(descriptor)
            remarks += self._moved(descriptor)
            self._disk.truncate(descriptor)
            self._disk.write(descriptor, memoryview(_signature().encode()))
        except BaseException:
            with contextlib.suppress(OSError):
                self._disk.close(descriptor)
            raise
        self._descriptor = descriptor
        return remarks

    def release(self) -> None:
        """Let go."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self._disk.close(descriptor)

    def _locked(self, descriptor: int) -> list[Event]:
        try:
            self._disk.lock(descriptor)
        except BlockingIOError:
            raise RunLockedError(
                f"the run in {self._folder} is in use by {self._owner()} since {self._since(descriptor)}; wait for it or stop it"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            kind = _file_system(self._folder)
            said = f"{self._folder} is on a file system ({kind}) without locks: a second process is noticed at its first commit only"
            return [Event("warning", said, {"file_system": kind, "errno": errno.errorcode.get(error.errno or 0)})]
        return []

    def _moved(self, descriptor: int) -> list[Event]:
        found = OWNER.fullmatch(self._signed(descriptor))
        if found is None or found[2] == socket.gethostname():
            return []
        said = f"the run in {self._folder} was last worked on at host {found[2]}; it goes on at {socket.gethostname()}"
        return [Event("start", said, {"host_before": found[2], "host": socket.gethostname()})]

    def _owner(self) -> str:
        """Who signed; waits a moment for one that has the lock and has not signed yet."""
        for _ in range(WAITS):
            descriptor = self._disk.open_for_locking(self._folder / "lock")
            signed = self._signed(descriptor)
            self._disk.close(descriptor)
            if (found := OWNER.fullmatch(signed)) and not (found[2] == socket.gethostname() and is_gone(int(found[1]))):
                return signed
            time.sleep(SECONDS_OF_A_WAIT)
        return "another process"

    def _signed(self, descriptor: int) -> str:
        return self._disk.read(descriptor, 1000).decode("utf-8", "replace").strip()

    def _since(self, descriptor: int) -> str:
        """When the owner signed, for people to read; nothing is decided by it."""
        changed = self._disk.status_of_open(descriptor).st_mtime
        return datetime.fromtimestamp(changed, UTC).isoformat(sep=" ", timespec="seconds")


def _signature() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def is_gone(pid: int) -> bool:
    """Whether this machine says that it has no such process."""
    return Path("/proc/self").is_dir() and not Path(f"/proc/{pid}").is_dir()


def _file_system(folder: Path) -> str:
    """The kind of file system below a folder, where the system tells."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "of unknown kind"
    resolved = folder.resolve()
    mounts = [(Path(fields[1]), fields[2]) for line in lines if len(fields := line.split()) > 2]
    above = [(len(place.parts), kind) for place, kind in mounts if resolved.is_relative_to(place)]
    return max(above)[1] if above else "of unknown kind"
