"""A disk in memory that can be killed, fail and lose power at any system call.

What is not synced may vanish at a power loss, tear at 512 bytes, or be there while earlier changes are not. An entry of a folder is
durable when the folder was synced, the bytes of a file when the file was; neither does anything for the other.
"""

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from streamgmm.storage.disk import Disk

SECTOR = 512
BLOCK = 4096


class Killed(BaseException):
    """SIGKILL: no clean-up of the process runs, because every later call raises it as well."""


@dataclass(eq=False)
class File:
    """Bytes now, and bytes that survive for certain. special: a FIFO, say, that no reader should wait for."""

    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    allocated: int = 0
    special: int = 0
    locked_by: int | None = None


@dataclass(eq=False)
class Folder:
    """Entries now, entries that survive for certain, and what was done since."""

    now: dict = field(default_factory=dict)
    durable: dict = field(default_factory=dict)
    since: list = field(default_factory=list)
    mode: int = 0o700
    owner: int = 1000

    def change(self, *changes):
        """(name, entry or None) pairs that the file system makes as one."""
        self.since.append(changes)
        _apply(self.now, changes)


def _apply(entries, changes):
    for name, entry in changes:
        if entry is None:
            entries.pop(name, None)
        else:
            entries[name] = entry


class SimulatedDisk(Disk):
    """See the module. before: called with (count, call, path) ahead of every call; it may raise. skip: a sync that is left out."""

    def __init__(self, root=None, *, room=None, before=None, skip=lambda kind, path: False):
        self.root = root or Folder()
        self.room = room
        self.before = before or (lambda count, call, path: None)
        self.skip = skip
        self.count = 0
        self.dead = False
        self.calls = []
        self._open = {}
        self._next = 3

    # ---- the calls ---------------------------------------------------------------------------------------------------

    def _step(self, call, path):
        if self.dead:
            raise Killed
        self.count += 1
        self.calls.append((call, path))
        try:
            self.before(self.count, call, path)
        except Killed:
            self.dead = True
            raise

    def _entry(self, path):
        found = self.root
        for part in Path(path).parts[1:]:
            if not isinstance(found, Folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            if part not in found.now:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            found = found.now[part]
        return found

    def _opened(self, entry, path):
        self._next += 1
        self._open[self._next] = [entry, Path(path), 0]
        return self._next

    def create(self, path):
        self._step("create", path)
        parent = self._entry(path.parent)
        if path.name in parent.now:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        parent.change((path.name, File()))
        return self._opened(parent.now[path.name], path)

    def open_for_reading(self, path):
        self._step("open", path)
        return self._opened(self._entry(path), path)

    def open_for_locking(self, path):
        self._step("open", path)
        parent = self._entry(path.parent)
        if path.name not in parent.now:
            parent.change((path.name, File()))
        return self._opened(parent.now[path.name], path)

    def open_folder(self, path):
        self._step("open", path)
        return self._opened(self._entry(path), path)

    def lock(self, descriptor):
        entry, path, _ = self._open[descriptor]
        self._step("flock", path)
        if entry.locked_by is not None:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        entry.locked_by = id(self)

    def read(self, descriptor, size):
        entry, path, at = self._open[descriptor]
        self._step("read", path)
        if isinstance(entry, Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._open[descriptor][2] = at + size
        return bytes(entry.now[at : at + size])

    def write(self, descriptor, content):
        entry, path, _ = self._open[descriptor]
        try:
            self._step("write", path)
        except ShortWrite as short:
            content = content[: max(len(content) // 2, 1)]
            self.dead = short.then_killed
        if self.room is not None and self._used() + len(content) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        entry.now += content
        if self.dead:
            raise Killed
        return len(content)

    def truncate(self, descriptor):
        entry, path, _ = self._open[descriptor]
        self._step("truncate", path)
        entry.now.clear()

    def sync(self, descriptor):
        entry, path, _ = self._open[descriptor]
        self._step("sync", path)
        kind = "folder" if isinstance(entry, Folder) else "file"
        if self.skip(kind, path):
            return
        if isinstance(entry, Folder):
            entry.durable, entry.since = dict(entry.now), []
        else:
            entry.durable = bytes(entry.now)

    def close(self, descriptor):
        entry, path, _ = self._open[descriptor]
        self._step("close", path)
        del self._open[descriptor]
        if isinstance(entry, File):
            entry.locked_by = None

    def link(self, path, other):
        self._step("link", other)
        entry, parent = self._entry(path), self._entry(other.parent)
        if other.name in parent.now:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(other))
        parent.change((other.name, entry))

    def rename(self, path, other):
        self._step("rename", path)
        entry = self._entry(path)
        assert path.parent == other.parent
        self._entry(path.parent).change((path.name, None), (other.name, entry))

    def unlink(self, path):
        self._step("unlink", path)
        if isinstance(self._entry(path), Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._entry(path.parent).change((path.name, None))

    def make_folder(self, path):
        self._step("mkdir", path)
        parent = self._entry(path.parent)
        if path.name in parent.now:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        parent.change((path.name, Folder()))

    def names(self, path):
        self._step("readdir", path)
        entry = self._entry(path)
        if not isinstance(entry, Folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return list(entry.now)

    def status(self, path):
        self._step("stat", path)
        return self._status(self._entry(path))

    def status_of_open(self, descriptor):
        entry, path, _ = self._open[descriptor]
        self._step("fstat", path)
        return self._status(entry)

    def _status(self, entry):
        if isinstance(entry, Folder):
            return SimpleNamespace(st_mode=stat.S_IFDIR | entry.mode, st_uid=entry.owner, st_size=0, st_mtime=0)
        kind = entry.special or stat.S_IFREG
        return SimpleNamespace(st_mode=kind | 0o600, st_uid=1000, st_size=max(len(entry.now), entry.allocated), st_mtime=0)

    def allocate(self, path, size):
        self._step("allocate", path)
        parent = self._entry(path.parent)
        held = parent.now[path.name].allocated if path.name in parent.now else 0
        if self.room is not None and self._used() + size - held > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if path.name not in parent.now:
            parent.change((path.name, File()))
        parent.now[path.name].allocated = size

    def free(self, path):
        return 10**9 if self.room is None else max(self.room - self._used(), 0)

    def user(self):
        return 1000

    def _used(self):
        """Bytes that files take up; those without a name as long as they are open."""
        found = {id(entry): entry for entry in _files(self.root)}
        found |= {id(entry): entry for entry, *_ in self._open.values() if isinstance(entry, File)}
        return sum(max(len(entry.now), entry.allocated) for entry in found.values())

    # ---- afterwards --------------------------------------------------------------------------------------------------

    def reopened(self):
        """The same disk for the next process: locks and descriptors are gone, everything else stays."""
        for entry in _files(self.root):
            entry.locked_by = None
        return SimulatedDisk(self.root, room=self.room)

    def after_power_loss(self, rng, share):
        """A legal state: `share` of what was not synced, chosen at random, is there (0: nothing, 1: everything)."""
        return SimulatedDisk(_survivor(self.root, rng, share, {}), room=self.room)


class ShortWrite(Exception):
    """Raised by `before`: the write takes half of what it was given, and the process may be killed then."""

    def __init__(self, *, then_killed=False):
        super().__init__()
        self.then_killed = then_killed


def _files(folder):
    for entry in folder.now.values():
        if isinstance(entry, Folder):
            yield from _files(entry)
        else:
            yield entry


def _survivor(entry, rng, share, known):
    if id(entry) in known:
        return known[id(entry)]
    if isinstance(entry, File):
        content = _torn(entry, rng, share)
        known[id(entry)] = made = File(bytearray(content), content, entry.allocated, entry.special)
        return made
    known[id(entry)] = made = Folder(mode=entry.mode, owner=entry.owner)
    entries = dict(entry.durable)
    for changes in entry.since:
        if rng.random() < share:
            _apply(entries, changes)
    made.now = {name: _survivor(below, rng, share, known) for name, below in entries.items()}
    made.durable = dict(made.now)
    return made


def _torn(file, rng, share):
    """Sectors that were not synced are new, old, or zeros where there was nothing; the size is any."""
    if bytes(file.now) == file.durable or share == 0:
        return file.durable
    if share == 1:
        return bytes(file.now)
    size = rng.choice([len(file.durable), len(file.now), rng.randint(0, len(file.now))])
    old = file.durable.ljust(size, b"\0")
    pieces = []
    for at in range(0, size, SECTOR):
        new = bytes(file.now[at : at + SECTOR])
        keep = rng.random() < share and len(new) == min(SECTOR, size - at)
        pieces.append(new if keep else old[at : at + SECTOR])
    return b"".join(pieces)[:size]
