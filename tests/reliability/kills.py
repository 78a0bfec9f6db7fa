"""P1 and P7: a fit that is killed at any instant, and again, ends with the bytes of one that nobody disturbed.

Fits run in children of one warm process (children.py). A quarter of the kills come from within, at a system call of a commit; a quarter
of the trials are killed twice.
"""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.events import ignore
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.observers.json_lines import JsonLines
from streamgmm.sources import open_source
from tests.reliability.children import digest_of, folder_of, killed_and_ended, seconds_of, store_of
from tests.reliability.outcome import Outcome

EVERY = 0.05  # seconds between commits, so that a fit of a second has as many as a long one in an hour
CALLS = 300  # system calls of a fit's commits among which the place of a kill is drawn


def trials(n, seed=0, schedule="auto"):
    """n fits, each killed once or twice and started again until it ends."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        store = store_of(place / "rows.zarr", _rows())
        job_of(store, Serial(), schedule).fit()  # compiles, and leaves no thread behind before the children are made
        seconds = seconds_of(lambda: _fit(store, place / "undisturbed", schedule))
        expected = digest_of(place / "undisturbed" / "model.zarr")
        differ, kills, lost = [], 0, []
        for number in range(n):
            run = place / f"run-{number}"
            work = lambda at_call, run=run: _fit(store, run, schedule, at_call)  # noqa: E731  (bound to this run)
            kills += killed_and_ended(work, number, rng, seconds, CALLS, lambda began, run=run: lost.append(_lost(run, began)))
            if digest_of(run / "model.zarr") != expected:
                differ.append(number)
            shutil.rmtree(run)
    remarks = {
        "kills": kills,
        "seconds of a fit": round(seconds, 2),
        "a commit every": f"{EVERY} s",
        "lost work, seconds": {"values": lost},
        "different": differ[:5],
    }
    return Outcome("P1, P7", n, len(differ), remarks)


def _rows():
    """Of two kinds, shuffled."""
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.normal(-3, 1, (20_000, 3)), rng.normal(2, 2, (25_000, 3))])
    rng.shuffle(x)
    return x


def job_of(store, executor, schedule, observe=ignore):
    """The fit of every trial: enough passes to take about a second. No OpenMP, whose threads a child cannot have from its parent."""
    configuration = FitConfiguration(
        n_components=5, init="random_rows", schedule=schedule, tol=0.0, max_iter=12, block_rows=1024, checkpoint_every=EVERY, seed=3
    )
    return Job(open_source(store, block_rows=1024), configuration, executor, observe=observe)


def _fit(store, run, schedule, at_call=None):
    with JsonLines(run.with_suffix(".jsonl")) as log:
        job_of(store, Threads(2), schedule, log).fit_in(Run(folder_of(run, at_call)))


def _lost(run, began):
    """Seconds since the newest commit, or the start."""
    commits = [path.stat().st_mtime for path in (run / "commits").glob("*.zip")] if run.exists() else []
    return round(max(0.0, time.time() - max([began, *commits])), 3)
