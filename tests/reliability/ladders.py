"""Ladders killed and started again: the same ladder and the same model.

At any event, in this process; and by SIGKILL at any instant, in children of one warm process (children.py), with two threads.
"""

import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.ladder import LadderJob, ladder_in
from streamgmm.ladder_configuration import LadderConfiguration
from streamgmm.model_file import model_hash
from streamgmm.sources import open_source
from tests.making import clustered_rows, rows_source
from tests.reliability.children import digest_of, folder_of, killed_and_ended, seconds_of, store_of
from tests.reliability.outcome import Outcome

MOST_ATTEMPTS = 200
PARAMETERS = {"schedule": "auto", "max_iter": 4, "n_init": 2, "tol": 1e-4, "hold_out": 0.1, "checkpoint_every": 0.0, "block_rows": 150}

KILLED_ROWS, KILLED_BLOCK, CALLS = 20_000, 512, 150  # system calls of a ladder's files among which the place of a kill is drawn


class Killed(BaseException):
    """Ends a ladder as a kill does: nothing is saved on the way out."""


def job_of(observe):
    """The ladder of all trials."""
    source = rows_source(clustered_rows(900, 3, 2, np.random.default_rng(7)), block_rows=150)
    configuration = LadderConfiguration.of("1:3", PARAMETERS)
    return LadderJob(source=source, configuration=configuration, executor=Serial(), observe=observe)


def ladder_under(folder, luck, share, seen):
    """The ladder and the hash of its model, killed at a share of the events."""

    def observe(event):
        if luck.random() < share:
            compared = event.details.get("task") == "compare"
            seen["killed in the comparison" if compared else "killed in a pass" if event.kind == "reading" else "killed elsewhere"] += 1
            raise Killed

    for _ in range(MOST_ATTEMPTS):
        try:
            found = ladder_in(Run(folder), job_of(observe))
        except Killed:
            continue
        return found.to_json(), model_hash(folder / "model.zarr")
    raise AssertionError(f"no end after {MOST_ATTEMPTS} attempts")


def trials(n: int, seed: int) -> Outcome:
    """`n` ladders, each killed at random events; a violation is another ladder or another model."""
    luck, seen, violations = random.Random(seed), Counter(), 0
    with tempfile.TemporaryDirectory() as scratch:
        expected = ladder_under(Path(scratch, "whole"), luck, 0.0, seen)
        for number in range(n):
            violations += ladder_under(Path(scratch, str(number)), luck, luck.choice((0.02, 0.04, 0.08)), seen) != expected
    return Outcome("P9", n, violations, dict(sorted(seen.items())))


def kill_trials(n: int, seed: int, n_rows: int = KILLED_ROWS) -> Outcome:
    """`n` ladders in run folders, each killed once or twice and started again until it ends."""
    luck, differ, kills = np.random.default_rng(seed), [], 0
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        store = store_of(place / "rows.zarr", clustered_rows(n_rows, 3, 2, np.random.default_rng(7)))
        _select(store, place / "warm", None, Serial())
        seconds = seconds_of(lambda: _select(store, place / "whole", None, Threads(2)))
        expected = digest_of(place / "whole" / "model.zarr")
        for number in range(n):
            run = place / f"run-{number}"
            work = lambda at_call, run=run: _select(store, run, at_call, Threads(2))  # noqa: E731  (bound to this run)
            kills += killed_and_ended(work, number, luck, seconds, CALLS)
            if digest_of(run / "model.zarr") != expected:
                differ.append(number)
            shutil.rmtree(run)
    return Outcome("P1, P9", n, len(differ), {"kills": kills, "seconds of a ladder": round(seconds, 2), "different": differ[:5]})


def _select(store, run, at_call, executor):
    """No OpenMP, whose threads a child cannot have from its parent."""
    changed = {"init": "random_rows", "block_rows": KILLED_BLOCK, "checkpoint_every": 0.05}
    configuration = LadderConfiguration.of("1:4", {**PARAMETERS, **changed})
    source = open_source(store, block_rows=KILLED_BLOCK)
    ladder_in(Run(folder_of(run, at_call)), LadderJob(source=source, configuration=configuration, executor=executor))
