"""Folders and files that appear whole or not at all. Floor 1.

They are filled under a hidden name beside their target, synced, and renamed when complete. The hidden name holds host and process, so
that a later start removes what a killed process left, and never what a living one is writing.
"""

__all__ = ["FULL", "PendingFolder", "replace_file", "storage_errors"]

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import final

from streamgmm.errors import ConfigError, StorageError, StreamGMMError

try:
    import resource
except ImportError:  # pragma: no cover  (not on Windows)
    resource = None  # type: ignore[assignment]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def storage_errors(
    path: Path,
    verb: str = "write",
    *,
    needed: int = 0,
    free: Callable[[Path], int] | None = None,
    pass_on: tuple[type[OSError], ...] = (),
) -> Iterator[None]:
    """Turn the operating system's errors into StorageError with path and errno.

    needed: bytes that were to be written; on a full disk the message says so, and how many are free. pass_on: left as they are.
    """
    left: tuple[type[BaseException], ...] = (StreamGMMError, *pass_on)
    try:
        yield
    except left:
        raise
    except OSError as error:
        raised = StorageError(f"cannot {verb} {path}: {_said(error, path)}{_room(error, path, needed, free)}; {_remedy(error)}")
        raised.errno = error.errno
        raise raised from error


def _said(error: OSError, path: Path) -> str:
    name = errno.errorcode.get(error.errno or 0, "no errno")
    where = f" at {error.filename}" if error.filename and str(error.filename) != str(path) else ""
    user = f"user id {os.getuid()}" if hasattr(os, "getuid") else "this user"
    return f"{error.strerror or error} ({name}{where}, {user})"


def _room(error: OSError, path: Path, needed: int, free: Callable[[Path], int] | None) -> str:
    if error.errno not in FULL or not needed or free is None:
        return ""
    try:
        return f"; {needed} bytes are needed, {free(path.parent)} are free"
    except OSError:
        return f"; {needed} bytes are needed"


def _remedy(error: OSError) -> str:
    if error.errno in (errno.EMFILE, errno.ENFILE) and resource is not None:
        return f"at most {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} files may be open (ulimit -n), raise that"
    return "make room or choose another place"


def replace_file(target: Path, content: bytes) -> None:
    """Write a file, in place of one that is there. Raises StorageError; the one that was there is untouched then.

    Where only its folder cannot be synced, the new one stands there already, and a power loss may bring the old one back.
    """
    with storage_errors(target, needed=len(content)):
        target.parent.mkdir(parents=True, exist_ok=True)
        path = _hidden(target, target)
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            path.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        _sync(target.parent)


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
            self.path = _hidden(place, target)
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


def _hidden(place: Path, target: Path) -> Path:
    """A new name beside a place; what killed processes left under such names is removed."""
    _remove_leftovers(place, target)
    return place.with_name(f"{_prefix(place)}{os.getpid()}-{secrets.token_hex(4)}.partial")


def _prefix(place: Path) -> str:
    host = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:40]
    return f".{place.name.encode()[:100].decode(errors='ignore')}.{host}-"


def _remove_leftovers(place: Path, target: Path) -> None:
    pattern = re.compile(re.escape(_prefix(place)) + r"(\d+)-[0-9a-f]{8}\.(partial|old)")
    for entry in place.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        # What was moved aside by a process killed before its new one had the name is the only copy: it stays.
        if match and not _is_alive(int(match[1])) and (match[2] == "partial" or target.exists()):
            _remove(entry)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            entry.unlink()


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
