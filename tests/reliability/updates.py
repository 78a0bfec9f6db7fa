"""P21 under kills: an update that is killed at any instant, and again, ends with the bytes of one that nobody disturbed.

The run that is updated is never touched. Updates run in children of one warm process (children.py); half of the trials are exact updates,
half are quick ones; a quarter of the kills come from within, at a system call of the new run's files.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.kept_sums import load_sums
from streamgmm.sources import open_source
from streamgmm.updating import prepared
from tests.reliability.children import digest_of, folder_of, killed_and_ended, seconds_of, store_of
from tests.reliability.outcome import Outcome

BLOCK, BEFORE, AFTER = 1024, 30_000, 90_000
HOWS = ("exact", "quick")
CALLS = 150  # system calls of an update's files among which the place of a kill is drawn


def trials(n: int, seed: int) -> Outcome:
    """`n` updates, each killed once or twice and started again until it ends."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        stores = [store_of(place / f"rows-{n_rows}.zarr", _rows()[:n_rows]) for n_rows in (BEFORE, AFTER)]
        run = place / "run"
        _fit(stores[0], run)
        before, expected, seconds = digest_of(run), {}, {}
        for how in HOWS:
            _updated(stores[1], run, place / f"warm-{how}", how, Serial())
            seconds[how] = seconds_of(lambda how=how: _updated(stores[1], run, place / how, how, Threads(2)))
            expected[how] = digest_of(place / how / "model.zarr")
        differ, kills = [], 0
        for number in range(n):
            how, into = HOWS[(number + number // 4) % 2], place / f"into-{number}"  # both kinds are killed in all ways
            work = lambda at_call, how=how, into=into: _updated(stores[1], run, into, how, Threads(2), at_call)  # noqa: E731
            kills += killed_and_ended(work, number, rng, seconds[how], CALLS)
            if digest_of(into / "model.zarr") != expected[how] or digest_of(run) != before or not _has_sums(into):
                differ.append(number)
            shutil.rmtree(into)
    remarks = {"kills": kills, "seconds": {how: round(value, 2) for how, value in seconds.items()}, "different": differ[:5]}
    return Outcome("P21", n, len(differ), remarks)


def _rows():
    rng = np.random.default_rng(7)
    return rng.normal(size=(AFTER, 3)) + np.where(rng.random(AFTER) < 0.4, -3.0, 2.0)[:, None]


def _fit(store, run):
    configuration = FitConfiguration(
        n_components=8, init="random_rows", schedule="full_batch", tol=0.0, max_iter=3, block_rows=BLOCK, checkpoint_every=0.02
    )
    Job(open_source(store, block_rows=BLOCK), configuration, Serial()).fit_in(Run(run))


def _updated(store, run, into, how, executor, at_call=None):
    source, storage = open_source(store, block_rows=BLOCK), folder_of(into, at_call)
    prepared(Run(run), Run(storage), source, executor, how).fit_in(Run(storage))


def _has_sums(into):
    run = Run(into)
    commit = run.latest()
    return commit is not None and load_sums(run.storage, commit.state.passes) is not None
