"""Folders that appear whole or not at all. Floor 1.

A folder is filled under a hidden name beside its target, synced, and renamed when complete. The hidden name holds host and process, so
that a later start removes what a killed process left, and never what a living one is writing.
"""

__all__ = ["PendingFolder", "storage_errors"]

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import final

from streamgmm.errors import ConfigError, StorageError, StreamGMMError


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into StorageError with path and errno."""
    try:
        yield
    except StreamGMMError:
        raise
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "no errno")
        where = f" at {error.filename}" if error.filename and str(error.filename) != str(path) else ""
        user = f"user id {os.getuid()}" if hasattr(os, "getuid") else "this user"
        raised = StorageError(f"cannot write {path}: {error.strerror or error} ({name}{where}, {user}); make room or choose another place")
        raised.errno = error.errno
        raise raised from error


@final
class PendingFolder:
    """A new folder to be published as `target`, or discarded.

    It lies beside `target`, or beside `near`, named after it, where the folder of `target` must not show anything unfinished.

    Raises StorageError where it cannot be made.
    """

    def __init__(self, target: Path, *, near: Path | None = None) -> None:
        self.target = target
        place = near or target
        with storage_errors(target):
            _remove_leftovers(place, target)
            self.path = place.with_name(f"{_prefix(place)}{os.getpid()}-{secrets.token_hex(4)}.partial")
            self.path.mkdir()

    def publish(self, *, replace: bool) -> None:
        """Sync and rename. What has the name already is moved aside and deleted last (`replace`), or refused with ConfigError."""
        old = self.path.with_suffix(".old")
        with storage_errors(self.target):
            _sync_tree(self.path)
            if os.path.lexists(self.target):
                if not replace:
                    raise ConfigError(f"{self.target} exists already; use --overwrite or another path")
                self.target.rename(old)
            self.path.rename(self.target)
            _sync(self.target.parent)
            shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove the folder; the target is untouched."""
        shutil.rmtree(self.path, ignore_errors=True)


def _prefix(place: Path) -> str:
    host = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:40]
    return f".{place.name.encode()[:100].decode(errors='ignore')}.{host}-"


def _remove_leftovers(place: Path, target: Path) -> None:
    pattern = re.compile(re.escape(_prefix(place)) + r"(\d+)-[0-9a-f]{8}\.(partial|old)")
    for entry in place.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        # A folder moved aside by a process killed before its new one had the name is the only copy: it stays.
        if match and not _is_alive(int(match[1])) and (match[2] == "partial" or target.exists()):
            shutil.rmtree(entry, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # no harmless way to ask there: what was left stays
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for file in files:
            _sync(Path(parent, file))
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
