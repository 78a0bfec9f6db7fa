"""Children of one warm process, which does the imports once: killed at an instant or from within, and started again until they end.

The warm process must not have used threads that a child needs: OpenMP's, which a child cannot have from its parent.
"""

import hashlib
import os
import signal
import time
from pathlib import Path

import dask.array
import numpy as np

from streamgmm.column_store import ColumnStoreWriter
from streamgmm.initialisers import kmeans
from streamgmm.storage.disk import Disk
from streamgmm.storage.local_folder import LocalFolder

IMPORTED = (dask.array, kmeans)  # here, for all children: xarray wants the one when it saves a model
MOST_STARTS = 50


class KilledAt(Disk):
    """Kills its own process at the n-th system call."""

    def __init__(self, n):
        self._left = n

    def __getattribute__(self, name):
        if not name.startswith("_"):
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


def folder_of(run, at_call=None):
    """The storage of a run; it kills its process at one of its system calls where that is given."""
    return LocalFolder(run, ("commits",), None if at_call is None else KilledAt(at_call))


def forked(work):
    """The process id of a child that does the work, and nothing after it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  (a child must not go on as the parent)
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def code_of(pid):
    """How a child ended."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def was_killed(pid, after=None):
    """Whether a child was killed: after so many seconds, or by itself."""
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    return code_of(pid) == -signal.SIGKILL


def seconds_of(work):
    """How long the work takes in a child that nobody disturbs."""
    began = time.monotonic()
    code = code_of(forked(work))
    assert code == 0, f"an undisturbed child ended with {code}"
    return time.monotonic() - began


def to_the_end(work):
    """Start the work until it ends."""
    for _ in range(MOST_STARTS):
        if code_of(forked(work)) == 0:
            return
    raise AssertionError(f"no end in {MOST_STARTS} starts")


def killed_and_ended(work, number, luck, seconds, calls, on_kill=lambda began: None):
    """Kill work(at_call) within its seconds, one of four at a system call and one of four twice, let it end; kills that came in time."""
    kills = 0
    for kill in range(2 if number % 4 == 3 else 1):
        at_call = int(luck.integers(1, calls)) if number % 4 == 1 and kill == 0 else None
        after, began = float(luck.uniform(0, 1.1 * seconds)), time.time()
        if was_killed(forked(lambda at_call=at_call: work(at_call)), after if at_call is None else None):
            kills += 1
            on_kill(began)
    to_the_end(lambda: work(None))
    return kills


def store_of(path, x):
    """A column store of rows x."""
    names = "abcdefgh"[: x.shape[1]]
    with ColumnStoreWriter(path, dict.fromkeys(names, np.dtype("f8")), chunk_rows=4096) as writer:
        writer.append({name: np.ascontiguousarray(x[:, j]) for j, name in enumerate(names)})
    return path


def digest_of(folder: Path) -> str:
    """SHA-256 of names and bytes of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
