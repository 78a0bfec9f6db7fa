"""Damaged kept samples: what is used has the bits that were written, everything else is refused by a CheckpointError.

In a run, what is refused is said and drawn again from the rows, and the fit ends with the same bits; so it is with what a run keeps of a
scan that was killed. The places of the damage are spread over the whole file.
"""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np

from streamgmm import exploration
from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import CheckpointError
from streamgmm.events import ignore
from streamgmm.executors.serial import Serial
from streamgmm.initialisers._sample import Sample
from streamgmm.job import Job
from streamgmm.kept_sample import pack_sample, unpack_sample
from tests.making import clustered_rows, rows_source
from tests.reliability.children import digest_of
from tests.reliability.outcome import Outcome

ORIGIN = {"source": {"n_rows": 40}, "configuration": {"seed": 0}, "rows": 12}


def damaged(raw, rng):
    """Flipped bits, a cut, a piece that stands twice, or zeros, anywhere."""
    at, size = int(rng.integers(len(raw))), int(rng.integers(1, 200))
    kind = rng.integers(4)
    if kind == 0:
        return raw[:at] + bytes([raw[at] ^ (1 << int(rng.integers(8)))]) + raw[at + 1 :]
    if kind == 1:
        return raw[:at]
    return raw[:at] + (raw[at : at + size] * 2 if kind == 2 else bytes(size)) + raw[at + size :]


def trials(n: int, seed: int) -> Outcome:
    """n damaged samples."""
    rng = np.random.default_rng(seed)
    sample = Sample(rng.normal(size=(12, 3)), rng.uniform(1, 2, 12), complete=False)
    raw, violations, refused = pack_sample(sample, ORIGIN), 0, 0
    for _ in range(n):
        try:
            found = unpack_sample(damaged(raw, rng), ORIGIN)
        except CheckpointError:
            refused += 1
        except Exception:  # noqa: BLE001  (whatever it is, it would end the fit)
            violations += 1
        else:
            violations += found.x.tobytes() != sample.x.tobytes() or found.weight.tobytes() != sample.weight.tobytes()
    return Outcome("P16", n, violations, {"refused": refused})


# ---- in a run --------------------------------------------------------------------------------------------------------------------

SMALL = {"EXPLORED_ROWS": 300, "EXPLORED_ROWS_A_PARAMETER": 1, "LEAST_STARTS": 3, "FIRST_STEPS": 5, "LAST_STEPS": 10}
FOREIGN = pack_sample(Sample(np.ones((12, 2)), np.ones(12), complete=False), ORIGIN)
HARMS = {
    "flipped": lambda raw, at: raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :],
    "cut": lambda raw, at: raw[:at],
    "zeros": lambda raw, at: raw[:at] + bytes(len(raw[at : at + 64])) + raw[at + 64 :],
    "twice": lambda raw, at: raw[:at] + raw[at : at + 64] * 2 + raw[at + 64 :],
    "gone": lambda raw, at: raw[:at] + raw[at + 64 :],
    "of other rows": lambda raw, at: FOREIGN,
}


class Killed(BaseException):
    """As a kill ends a process: nothing is saved on the way out."""


MOMENTS = {  # of which each leaves a run behind: what is to be damaged there, and when the run is killed
    "scan": ("scan-*.zip", lambda event: event.details.get("task") == "scan" and event.details["rows"] >= 700),
    "exploring": ("sample.zip", lambda event: event.message.startswith("exploring")),
    "pass": ("sample.zip", lambda event: event.kind == "pass" and event.details["pass"] == 2),
}


def run_trials(n: int, seed: int) -> Outcome:
    """n runs, killed at one of three moments, whose kept sample or scan is damaged before the fit goes on."""
    luck, wrong, seen = np.random.default_rng(seed), [], Counter()
    with mock.patch.multiple(exploration, **SMALL), tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        _job().fit_in(Run(place / "whole"))
        expected = digest_of(place / "whole" / "model.zarr")
        for moment, (_, is_time) in MOMENTS.items():
            _killed_at(place / moment, is_time)
        for number in range(n):
            moment, harm = list(MOMENTS)[(number + number // 6) % 3], list(HARMS)[number % 6]
            fault = _gone_on(place, moment, harm, (number + luck.random()) / n, expected, seen)
            wrong += [f"{moment}, {harm}: {fault}"] if fault else []
    return Outcome("P16", n, len(wrong), {"said": dict(sorted(seen.items())), "wrong": wrong[:5]})


def _job(observe=ignore, every=60.0):
    source = rows_source(clustered_rows(1200, 3, 2, np.random.default_rng(7)), block_rows=100)
    configuration = FitConfiguration(
        n_components=3, init="random_rows", block_rows=100, max_iter=3, tol=1e-12, seed=1, checkpoint_every=every
    )
    return Job(source, configuration, Serial(), observe=observe)


def _killed_at(run, is_time):
    def observe(event):
        if is_time(event):
            raise Killed

    try:
        _job(observe, 0.0).fit_in(Run(run))
    except Killed:
        return
    raise AssertionError(f"{run.name}: the moment to kill it never came")


def _gone_on(place, moment, harm, where, expected, seen):
    """What is wrong with a fit that goes on after a damage, "" for nothing. where: from 0, the first byte, to 1."""
    run, told = place / "run", []
    shutil.copytree(place / moment, run)
    (path,) = run.glob(MOMENTS[moment][0])
    raw = path.read_bytes()
    damaged = HARMS[harm](raw, int(where * len(raw)))
    path.write_bytes(damaged)
    try:
        _job(told.append).fit_in(Run(run))
        found = digest_of(run / "model.zarr")
    except Exception as error:  # noqa: BLE001  (whatever it is, it ended the fit)
        return repr(error)
    finally:
        shutil.rmtree(run)
    is_told = any(event.kind == "warning" and path.name in event.message for event in told)
    seen[f"{path.stem.split('-')[0]} {'damaged' if is_told else 'not damaged'}"] += 1
    if is_told != (damaged != raw):
        return "a damage that was not said" if not is_told else "a damage that was said and was none"
    return "" if found == expected else "another model"
