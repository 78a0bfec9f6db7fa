"""P1 for a fit as it is by default: killed while it scans, explores, or passes over the table, and again, it ends with the same bytes.

A child tells through a pipe which phase begins; it is killed at a random instant of the phase that its trial is for. A quarter of the
trials are killed twice. Several numbers of components; the sample is a part of the table. What an undisturbed run leaves in its folder is
all that is left there.
"""

import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from streamgmm import exploration
from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.sources import open_source
from tests.making import clustered_rows
from tests.reliability import kills
from tests.reliability.children import code_of, digest_of, forked, store_of, to_the_end, was_killed
from tests.reliability.outcome import Outcome

KS = (2, 4, 6)
PHASES = ("scan", "explore", "pass")
ROWS, EXPLORED, BLOCK, EVERY = 20_000, 4_000, 256, 0.02
SCAN = 0.5  # seconds that reads are slower by: there is time to be killed in


@dataclass(frozen=True)
class Whole:
    """What an undisturbed fit leaves, and the seconds of its phases."""

    digest: str
    names: frozenset[str]
    seconds: dict[str, float]


def trials(n: int, seed: int, rows: int = ROWS, ks: tuple[int, ...] = KS, **exploring: int) -> Outcome:
    """n fits, each killed once or twice and started again until it ends. exploring: less of it."""
    luck, hit, differ = np.random.default_rng(seed), Counter(), []
    small = mock.patch.multiple(exploration, EXPLORED_ROWS=EXPLORED * rows // ROWS, EXPLORED_ROWS_A_PARAMETER=1, **exploring)
    with small, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        store = store_of(place / "rows.zarr", clustered_rows(rows, 6, 3, np.random.default_rng(7)))
        kills.job_of(store, Serial(), "full_batch").fit()  # compiles; what uses OpenMP is left to the children
        whole = {k: _undisturbed(partial(fit, store, place / f"undisturbed-{k}", k), place / f"undisturbed-{k}") for k in ks}
        for number in range(n):
            k, run = ks[number % len(ks)], place / f"run-{number}"
            to_come = PHASES[number % 4 :][:1] or PHASES  # a quarter of the first kills for each phase, a quarter for any
            for _ in range(2 if (number + number // 4) % 4 == 3 else 1):
                phase = luck.choice(to_come)
                where = _killed_in(phase, partial(fit, store, run, k), luck.random() * whole[k].seconds[phase])
                hit[where] += 1
                to_come = PHASES[PHASES.index(where) :] if where in PHASES else PHASES
            to_the_end(partial(fit, store, run, k))
            if (digest_of(run / "model.zarr"), _names(run)) != (whole[k].digest, whole[k].names):
                differ.append(number)
            shutil.rmtree(run)
    longest = {phase: round(max(one.seconds[phase] for one in whole.values()), 2) for phase in PHASES}
    return Outcome("P1, P7", n, len(differ), {"kills in": dict(sorted(hit.items())), "seconds in": longest, "different": differ[:5]})


def fit(store: Path, run: Path, k: int, told: int | None = None) -> None:
    """The fit of a trial. told: a pipe for the first letters of phases."""
    configuration = FitConfiguration(n_components=k, block_rows=BLOCK, checkpoint_every=EVERY, seed=3)

    def observe(event):
        phase = _phase_of(event)
        if phase and told is not None:
            os.write(told, phase[0].encode())
        if phase == "scan":
            time.sleep(SCAN / source.n_blocks)

    source = open_source(store, block_rows=BLOCK)
    Job(source, configuration, Threads(2), observe=observe).fit_in(Run(run))


def _phase_of(event):
    """The phase that an event belongs to, "" where it tells none."""
    if event.kind == "reading":
        return "scan" if event.details.get("task") == "scan" else "pass"
    return "explore" if event.message.startswith(("all ", "exploring")) else ""


def _words(work):
    """(process id, a file in which each byte is a phase's first letter)."""
    receive, send = os.pipe()
    pid = forked(lambda: work(told=send))
    os.close(send)
    return pid, os.fdopen(receive, "rb", buffering=0)


def _killed_in(phase, work, after):
    """Kill the work so many seconds after the phase began; the phase that was hit."""
    pid, words = _words(work)
    with words:
        last = word = words.read(1)
        while word and word != phase[0].encode():
            last, word = word, words.read(1)
        killed = was_killed(pid, after if word else 0.0)
        last = (last + word + words.read())[-1:].decode()
    return next((one for one in PHASES if one[0] == last), "the opening") if killed else "none"


def _undisturbed(work, run):
    """What a fit leaves; of each phase, the seconds from its first word to the next one's."""
    pid, words = _words(work)
    began = {}
    with words:
        while word := words.read(1):
            began.setdefault(word.decode(), time.monotonic())
    ended = time.monotonic()
    assert code_of(pid) == 0
    marks = [*(began[phase[0]] for phase in PHASES), ended]
    seconds = {phase: marks[i + 1] - marks[i] for i, phase in enumerate(PHASES)}
    return Whole(digest_of(run / "model.zarr"), _names(run), seconds)


def _names(run):
    return frozenset(path.name for path in run.iterdir())
