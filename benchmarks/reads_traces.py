"""What the fits of the benchmark of reads saw: the likelihood at every look at all rows."""

__all__ = ["PEERS", "Trace", "trace_of"]

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.processes import run_module
from streamgmm.arrays import ArrayND
from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.sources import as_source
from streamgmm.state import Contender, FitState

PEERS = ("auto", "full_batch", "anderson", "sklearn", "sklearn10")
PASSES, FAR_TOL = 200, 1e-12  # of plain and extrapolated EM, which go on until nothing moves
BEYOND_TOL, MOST_LOOKS = 1e-8, 60  # to see where `auto` would come to after its own end


@dataclass(frozen=True)
class Trace:
    """A fit: log-likelihood (nats) of every look at all rows, reads before the first of them, seconds.

    ended: looks until it ended by itself; what follows is there to see where it would have come to. value: the likelihood it gives then.
    converged: whether it says so. remaining: the error in standard errors that it found then.
    """

    peer: str
    rows: int
    values: tuple[float, ...]
    reads_before: int
    seconds: float
    converged: bool
    ended: int
    value: float
    remaining: float | None = None

    def reads_to(self, best: float, gap: float) -> int | None:
        """Reads until a look was within `gap` of the best."""
        for number, value in enumerate(np.maximum.accumulate(self.values)):
            if best - value <= gap:
                return self.reads_before + number + 1
        return None


def trace_of(peer: str, x: ArrayND, k: int, seed: int) -> Trace:
    """A peer's fit."""
    if peer == "auto":
        return auto(x, k, seed)
    return sklearns(peer, x, k, seed) if peer.startswith("sklearn") else plain(peer, x, k, seed)


def auto(x: ArrayND, k: int, seed: int) -> Trace:
    """To its own end, timed; then far beyond it."""
    given = {"n_components": k, "schedule": "auto", "seed": seed}
    job = Job(as_source(x), FitConfiguration.checked(given), Threads())
    with tempfile.TemporaryDirectory(prefix="reads-") as folder:
        began = time.perf_counter()
        result = job.fit_in(Run(folder))
        seconds, state = time.perf_counter() - began, result.state
        beyond = (
            replace(job, configuration=FitConfiguration.checked(given | {"tol": BEYOND_TOL, "max_iter": MOST_LOOKS}))
            .fit_in(Run(folder))
            .state
        )
    best = state.best
    values = _looks(best, _same(best, beyond), len(x))
    return Trace("auto", len(x), values, 1, seconds, best.converged, state.passes, _value(state, len(x)), _left(best))


def _same(contender: Contender, state: FitState) -> Contender:
    return next(one for one in state.contenders if one.start == contender.start)


def _looks(ended: Contender, beyond: Contender, rows: int) -> tuple[float, ...]:
    """Without the second look at the mixture that a fit had ended with: it is there because the fit was opened again."""
    values, n = beyond.log_likelihoods, len(ended.log_likelihoods)
    again = n < len(values) and ended.converged and values[n] == values[n - 1]
    return tuple(value * rows for value in (values[:n] + values[n + 1 :] if again else values))


def _value(state: FitState, rows: int) -> float:
    """Of the fit's best look: what it gives in the end is no worse."""
    return max(state.best.log_likelihoods) * rows


def _left(contender: Contender) -> float | None:
    return float(np.sqrt(contender.memory["left"])) if "left" in contender.memory else None


def plain(schedule: str, x: ArrayND, k: int, seed: int) -> Trace:
    """EM, plain or extrapolated, until nothing moves; scikit-learn's rule would end it far earlier."""
    given = {"n_components": k, "schedule": schedule, "seed": seed, "tol": FAR_TOL, "max_iter": PASSES}
    began = time.perf_counter()
    state = Job(as_source(x), FitConfiguration.checked(given), Threads()).fit().state
    values = tuple(value * len(x) for value in state.best.log_likelihoods)
    seconds = time.perf_counter() - began
    return Trace(schedule, len(x), values, 1, seconds, state.best.converged, state.passes, _value(state, len(x)))


def sklearns(peer: str, x: ArrayND, k: int, seed: int) -> Trace:
    """scikit-learn's defaults in a process of one thread. Looks of all starts are reads; those of its k-means are not."""
    with tempfile.TemporaryDirectory(prefix="reads-") as folder:
        rows = Path(folder) / "rows.npy"
        np.save(rows, x)
        said = run_module("benchmarks.reads_process", [rows, k, 10 if peer == "sklearn10" else 1, seed], 1)
    values = tuple(value * len(x) for value in said["looks"])
    return Trace(peer, len(x), values, 0, said["seconds"], said["converged"], len(values), said["value"] * len(x))
