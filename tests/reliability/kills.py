"""P1 and P7: a fit that is killed at any instant, and again, ends with the bytes of one that nobody disturbed.

Fits run in children of one warm process, which does the imports once. A quarter of the kills come from within, at a system call of a
commit; a quarter of the trials are killed twice.
"""

import hashlib
import os
import shutil
import signal
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.column_store import ColumnStoreWriter
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.observers.json_lines import JsonLines
from streamgmm.sources import open_source
from streamgmm.storage.disk import Disk
from streamgmm.storage.local_folder import LocalFolder
from tests.reliability.outcome import Outcome

EVERY = 0.05  # seconds between commits, so that a fit of a second has as many as a long one in an hour
CALLS = 300  # system calls of a fit's commits among which the place of a kill is drawn
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


def trials(n, seed=0):
    """n fits, each killed once or twice and started again until it ends."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        store = _store(place / "rows.zarr")
        expected, seconds = _undisturbed(store, place)
        differ, kills, lost, restarts = [], 0, [], []
        for number in range(n):
            run = place / f"run-{number}"
            for kill in range(2 if number % 4 == 3 else 1):
                at_call = int(rng.integers(1, CALLS)) if number % 4 == 1 and kill == 0 else None
                was_killed, work = _killed(store, run, float(rng.uniform(0, 1.1 * seconds)), at_call)
                kills += was_killed
                lost += [work] if was_killed else []
            restarts.append(_to_the_end(store, run))
            if digest_of(run / "model.zarr") != expected:
                differ.append(number)
            shutil.rmtree(run)
    remarks = {
        "kills": kills,
        "seconds of a fit": round(seconds, 2),
        "a commit every": f"{EVERY} s",
        "lost work, seconds": _quantiles(lost),
        "different": differ[:5],
    }
    return Outcome("P1, P7", n, len(differ), remarks)


def digest_of(folder):
    """SHA-256 of names and bytes of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _quantiles(values):
    if not values:
        return {}
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {"median": round(statistics.median(ordered), 3), "p99": round(p99, 3), "max": round(ordered[-1], 3)}


def _store(path):
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.normal(-3, 1, (20_000, 3)), rng.normal(2, 2, (25_000, 3))])
    rng.shuffle(x)
    with ColumnStoreWriter(path, dict.fromkeys("abc", np.dtype("f8")), chunk_rows=4096) as writer:
        writer.append({name: x[:, j] for j, name in enumerate("abc")})
    return path


def job_of(store, executor, observe=None):
    """The fit of every trial: enough passes to take about a second. No OpenMP, whose threads a child cannot have from its parent."""
    configuration = FitConfiguration(
        n_components=5, init="random_rows", tol=0.0, max_iter=12, block_rows=1024, checkpoint_every=EVERY, seed=3
    )
    return Job(open_source(store, block_rows=1024), configuration, executor, **({} if observe is None else {"observe": observe}))


def _undisturbed(store, place):
    job_of(store, Serial()).fit()  # compiles, and starts no thread before the children are made
    began = time.monotonic()
    _wait(_child(store, place / "undisturbed"))
    return digest_of(place / "undisturbed" / "model.zarr"), time.monotonic() - began


def _child(store, run, at_call=None):
    pid = os.fork()
    if pid:
        return pid
    try:
        with JsonLines(run.with_suffix(".jsonl")) as log:
            storage = LocalFolder(run, ("commits",), None if at_call is None else KilledAt(at_call))
            job_of(store, Threads(2), log).fit_in(Run(storage))
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  (a child must not go on as the parent)
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def _wait(pid):
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _killed(store, run, after, at_call):
    """Whether the child was killed, and the seconds since its newest commit (or its start)."""
    began = time.time()
    pid = _child(store, run, at_call)
    if at_call is None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    code = _wait(pid)
    ended = time.time()
    commits = [path.stat().st_mtime for path in (run / "commits").glob("*.zip")] if run.exists() else []
    return code == -signal.SIGKILL, max(0.0, ended - max([began, *commits]))


def _to_the_end(store, run):
    for starts in range(1, MOST_STARTS):
        if _wait(_child(store, run)) == 0:
            return starts
    raise AssertionError(f"{run} did not end in {MOST_STARTS} starts")
