"""A run's files in a local folder. Floor 4.

A content is written under a hidden name beside its own, synced, and published by an exclusive link; then the folder is synced. What a
killed writer left under hidden names is removed when the lock is taken. The lock gives a clear error early; the link is the fence.
"""

__all__ = ["RESERVE", "LocalFolder"]

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import final

from streamgmm.errors import CheckpointCorruptError, SecurityError, StorageError
from streamgmm.events import Event
from streamgmm.pending_folder import FULL, storage_errors
from streamgmm.storage._lock import Lock
from streamgmm.storage.base import AbstractStorage
from streamgmm.storage.disk import Disk

HIDDEN = ".pending-"
RESERVE = ".reserve"
LEAST_RESERVE = 64 << 10
LARGEST = 2 << 30
PIECE = 1 << 20
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
UNREADABLE = (errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENOTDIR)  # of a file itself, not of the process


@final
class LocalFolder(AbstractStorage):
    """A folder that one user owns. disk: the system calls, for tests. folders: those inside that `open` makes."""

    def __init__(self, path: Path, folders: tuple[str, ...] = (), disk: Disk | None = None) -> None:
        self.path = path
        self._folders = folders
        self._disk = disk or Disk()
        self._lock = Lock(path, self._disk)

    # ---- opening -----------------------------------------------------------------------------------------------------

    def open(self) -> list[Event]:
        """See the base class."""
        with storage_errors(self.path):
            self._make(self.path)
            self._refuse_strangers()
            remarks = self._lock.take()
            try:
                for name in self._folders:
                    self._make(self.path / name)
                self._remove_leftovers()
                self._probe()
            except BaseException:
                self._lock.release()
                raise
        self.reserve(0)
        return remarks

    def close(self) -> None:
        """See the base class."""
        if self._lock.held:
            self._give_up_reserve()
        self._lock.release()

    @property
    def is_open(self) -> bool:
        """See the base class."""
        return self._lock.held

    def _make(self, folder: Path) -> None:
        """A folder and those above it, each durable."""
        if self._exists(folder):
            if not stat.S_ISDIR(self._disk.status(folder).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
            return
        self._make(folder.parent)
        with contextlib.suppress(FileExistsError):
            self._disk.make_folder(folder)
        self._sync_folder(folder.parent)

    def _exists(self, path: Path) -> bool:
        try:
            self._disk.status(path)
        except FileNotFoundError:
            return False
        return True

    def _refuse_strangers(self) -> None:
        found, user = self._disk.status(self.path), self._disk.user()
        if user >= 0 and found.st_uid != user:
            raise SecurityError(
                f"run folder {self.path} belongs to user id {found.st_uid}, this is {user}: its owner could swap files;"
                " choose a folder of your own"
            )
        if user >= 0 and found.st_mode & stat.S_IWOTH:
            raise SecurityError(
                f"run folder {self.path} has mode {stat.S_IMODE(found.st_mode):04o}: every user may write there; chmod 700 {self.path}"
            )

    def _remove_leftovers(self) -> None:
        for folder in (self.path, *(self.path / name for name in self._folders)):
            for name in self._disk.names(folder):
                if name.startswith(HIDDEN):
                    self._drop(folder / name)

    def _probe(self) -> None:
        """Publishing needs links: find out now, not after hours."""
        pending, other = (self._hidden(self.path / name) for name in ("probe", "probe-link"))
        try:
            self._disk.close(self._disk.create(pending))
            self._disk.link(pending, other)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            raise StorageError(
                f"{self.path}: the file system has no hard links ({error.strerror}), which publish a commit whole or not at all;"
                " put the run on a local disk, or in an object store"
            ) from error
        finally:
            for path in (pending, other):
                self._drop(path)

    # ---- contents ----------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        """See the base class."""
        path = self.path / name
        try:
            with storage_errors(path, "read"), self._opened(self._disk.open_for_reading(path)) as descriptor:
                found = self._disk.status_of_open(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise CheckpointCorruptError(f"{path} is not a plain file")
                if found.st_size > LARGEST:
                    raise CheckpointCorruptError(f"{path}: {found.st_size} bytes, the limit is {LARGEST}")
                return self._all_of(descriptor)
        except StorageError as error:
            if error.errno == errno.ENOENT:
                raise FileNotFoundError(errno.ENOENT, f"{path} is not there") from error
            if error.errno in UNREADABLE:
                raise CheckpointCorruptError(str(error)) from error
            raise

    def _all_of(self, descriptor: int) -> bytes:
        pieces = []
        while piece := self._disk.read(descriptor, PIECE):
            pieces.append(piece)
        return b"".join(pieces)

    def create(self, name: str, content: bytes, *, last: bool = False) -> None:
        """See the base class. On a full disk the reserve is given up for the last content only: those before it can wait."""
        path = self.path / name
        with storage_errors(path, needed=len(content), free=self._disk.free, pass_on=(FileExistsError,)):
            self._with_room(lambda: self._publish(path, content), last=last)
            self._with_room(lambda: self._sync_folder(path.parent), last=last)

    def _with_room(self, action: Callable[[], None], *, last: bool) -> None:
        try:
            action()
        except OSError as error:
            if error.errno not in FULL or not (last and self._give_up_reserve()):
                raise
            action()

    def _publish(self, path: Path, content: bytes) -> None:
        pending = self._hidden(path)
        try:
            with self._opened(self._disk.create(pending)) as descriptor:
                self._write_all(descriptor, content)
                self._disk.sync(descriptor)
            self._disk.link(pending, path)
        finally:
            self._drop(pending)

    def _write_all(self, descriptor: int, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            written = self._disk.write(descriptor, rest)
            if written <= 0:
                raise OSError(errno.EIO, "nothing was written")
            rest = rest[written:]

    def names(self, folder: str) -> list[str]:
        """See the base class."""
        try:
            with storage_errors(self.path / folder, "read"):
                return sorted(name for name in self._disk.names(self.path / folder) if not name.startswith("."))
        except StorageError as error:
            if error.errno == errno.ENOENT:
                return []
            raise

    def remove(self, name: str) -> None:
        """See the base class."""
        with storage_errors(self.path / name, "remove"), contextlib.suppress(FileNotFoundError):
            self._disk.unlink(self.path / name)

    def rename(self, name: str, other: str) -> None:
        """See the base class."""
        with storage_errors(self.path / name, "rename"):
            self._disk.rename(self.path / name, self.path / other)

    def describe(self) -> str:
        """See the base class."""
        return str(self.path)

    # ---- room for the last content -----------------------------------------------------------------------------------

    def reserve(self, size: int) -> None:
        """See the base class."""
        path, wanted = self.path / RESERVE, max(LEAST_RESERVE, size)
        with contextlib.suppress(OSError):
            if not self._exists(path) or self._disk.status(path).st_size < wanted:
                self._disk.allocate(path, wanted)

    def _give_up_reserve(self) -> bool:
        path = self.path / RESERVE
        with contextlib.suppress(OSError):
            self._disk.unlink(path)
            return True
        return False

    # ---- small ones --------------------------------------------------------------------------------------------------

    def _hidden(self, path: Path) -> Path:
        return path.with_name(f"{HIDDEN}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")

    def _drop(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            self._disk.unlink(path)

    def _sync_folder(self, folder: Path) -> None:
        with self._opened(self._disk.open_folder(folder)) as descriptor:
            self._disk.sync(descriptor)

    @contextlib.contextmanager
    def _opened(self, descriptor: int) -> Iterator[int]:
        """Closed in any case; an error of closing counts only where nothing else went wrong."""
        try:
            yield descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                self._disk.close(descriptor)
            raise
        self._disk.close(descriptor)
