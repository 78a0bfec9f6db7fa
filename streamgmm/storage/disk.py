"""The system calls of a run, one method each, so that a test can put a simulated disk in their place. Floor 4."""

__all__ = ["Disk"]

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover  (not on Windows: there the exclusive link alone guards)
    fcntl = None  # type: ignore[assignment]

PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class Disk:
    """What the operating system does, and raises."""

    def create(self, path: Path) -> int:
        """Open a new file for writing; nobody else may read it."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o600)

    def open_for_reading(self, path: Path) -> int:
        """Open what is there, without waiting for the writer of a FIFO."""
        return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | PLAIN)

    def open_for_locking(self, path: Path) -> int:
        """Open a file for reading, and writing at its end; it is made where it is not there."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | PLAIN, 0o600)

    def open_folder(self, path: Path) -> int:
        """Open a folder, to sync it."""
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def lock(self, descriptor: int) -> None:
        """Lock against other processes. Raises BlockingIOError where one holds it."""
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def read(self, descriptor: int, size: int) -> bytes:
        """At most so many bytes."""
        return os.read(descriptor, size)

    def write(self, descriptor: int, content: memoryview) -> int:
        """Write some of the content; how many bytes."""
        return os.write(descriptor, content)

    def truncate(self, descriptor: int) -> None:
        """Empty a file."""
        os.ftruncate(descriptor, 0)

    def sync(self, descriptor: int) -> None:
        """Make a file or a folder durable."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close; errors are not swallowed."""
        os.close(descriptor)

    def link(self, path: Path, other: Path) -> None:
        """Give a file a second name. Raises FileExistsError."""
        os.link(path, other)

    def rename(self, path: Path, other: Path) -> None:
        """Move, over what is there."""
        path.rename(other)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        path.unlink()

    def make_folder(self, path: Path) -> None:
        """Make a folder that only its owner enters. Raises FileExistsError."""
        path.mkdir(mode=0o700)

    def names(self, path: Path) -> list[str]:
        """Names in a folder."""
        return [entry.name for entry in path.iterdir()]

    def status(self, path: Path) -> os.stat_result:
        """What lies at a path, links followed."""
        return path.stat()

    def status_of_open(self, descriptor: int) -> os.stat_result:
        """What is open."""
        return os.fstat(descriptor)

    def allocate(self, path: Path, size: int) -> None:
        """Take up room on the disk. Raises OSError where there is none."""
        descriptor = self.open_for_locking(path)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)

    def free(self, path: Path) -> int:
        """Bytes that this user may still write."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def user(self) -> int:
        """Who we are; -1 where the system has no numbers for it."""
        return os.getuid() if hasattr(os, "getuid") else -1
