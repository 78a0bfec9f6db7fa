"""P21 under kills: an update that is killed at any instant, and again, ends with the bytes of one that nobody disturbed.

The run that is updated is never touched. Updates run in children of one warm process (kills.py); half of the trials are exact updates,
half are quick ones, and every third kill comes from within, at a system call of the new run's files.
"""

import os
import shutil
import signal
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
from streamgmm.kept_sums import load_sums
from streamgmm.sources import open_source
from streamgmm.storage.local_folder import LocalFolder
from streamgmm.updating import prepared
from tests.reliability.kills import KilledAt, digest_of
from tests.reliability.outcome import Outcome

BLOCK, BEFORE, AFTER = 1024, 30_000, 90_000
HOWS = ("exact", "quick")
CALLS = 150  # system calls of an update's files among which the place of a kill is drawn
MOST_STARTS = 20


def trials(n: int, seed: int) -> Outcome:
    """`n` updates, each killed once or twice and started again until it ends."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        stores = [_store(place / f"rows-{rows}.zarr", rows) for rows in (BEFORE, AFTER)]
        run = place / "run"
        _fit(stores[0], run)
        before, expected, seconds = digest_of(run), {}, {}
        for how in HOWS:
            _updated(stores[1], run, place / f"warm-{how}", how, Serial())
            began = time.monotonic()
            assert _wait(_child(stores[1], run, place / how, how)) == 0
            seconds[how], expected[how] = time.monotonic() - began, digest_of(place / how / "model.zarr")
        differ, kills = [], 0
        for number in range(n):
            how, into = HOWS[number % 2], place / f"into-{number}"
            for kill in range(1 + (number % 4 == 3)):
                at_call = int(rng.integers(1, CALLS)) if number % 3 == 1 and kill == 0 else None
                kills += _killed(stores[1], run, into, how, float(rng.uniform(0, 1.1 * seconds[how])), at_call)
            _to_the_end(stores[1], run, into, how)
            if digest_of(into / "model.zarr") != expected[how] or digest_of(run) != before or not _has_sums(into):
                differ.append(number)
            shutil.rmtree(into)
    remarks = {"kills": kills, "seconds": {how: round(value, 2) for how, value in seconds.items()}, "different": differ[:5]}
    return Outcome("P21", n, len(differ), remarks)


def _store(path, rows):
    """The first rows of one table."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(AFTER, 3)) + np.where(rng.random(AFTER) < 0.4, -3.0, 2.0)[:, None]
    with ColumnStoreWriter(path, dict.fromkeys("abc", np.dtype("f8")), chunk_rows=4096) as writer:
        writer.append({name: x[:rows, j] for j, name in enumerate("abc")})
    return path


def _fit(store, run):
    configuration = FitConfiguration(
        n_components=8, init="random_rows", schedule="full_batch", tol=0.0, max_iter=3, block_rows=BLOCK, checkpoint_every=0.02
    )
    Job(open_source(store, block_rows=BLOCK), configuration, Serial()).fit_in(Run(run))


def _updated(store, run, into, how, executor, disk=None):
    source = open_source(store, block_rows=BLOCK)
    prepared(Run(run), Run(LocalFolder(into, ("commits",), disk)), source, executor, how).fit_in(Run(LocalFolder(into, ("commits",), disk)))


def _child(store, run, into, how, at_call=None):
    pid = os.fork()
    if pid:
        return pid
    try:
        _updated(store, run, into, how, Threads(2), None if at_call is None else KilledAt(at_call))
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  (a child must not go on as the parent)
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def _wait(pid):
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _killed(store, run, into, how, after, at_call):
    pid = _child(store, run, into, how, at_call)
    if at_call is None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    return _wait(pid) == -signal.SIGKILL


def _to_the_end(store, run, into, how):
    for _ in range(MOST_STARTS):
        if _wait(_child(store, run, into, how)) == 0:
            return
    raise AssertionError(f"{into} did not end in {MOST_STARTS} starts")


def _has_sums(into):
    run = Run(into)
    commit = run.latest()
    return commit is not None and load_sums(run.storage, commit.state.passes) is not None
