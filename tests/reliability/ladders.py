"""Ladders killed at any event and started again: the same ladder and the same model."""

import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.executors.serial import Serial
from streamgmm.ladder import LadderJob, ladder_in
from streamgmm.ladder_configuration import LadderConfiguration
from streamgmm.model_file import model_hash
from tests.making import clustered_rows, rows_source
from tests.reliability.outcome import Outcome

MOST_ATTEMPTS = 200
PARAMETERS = {"schedule": "auto", "max_iter": 4, "n_init": 2, "tol": 1e-4, "hold_out": 0.1, "checkpoint_every": 0.0, "block_rows": 150}


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
