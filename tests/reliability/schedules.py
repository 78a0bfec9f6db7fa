"""P9: any order of completion, any pieces, twice, late, lost, stopped and killed in between: one hash."""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import numpy as np

from streamgmm.executors.serial import Serial
from streamgmm.fit import run_fit, start_state
from streamgmm.ledger import Ledger
from streamgmm.passes import BlockStatistics, Caller, FitProblem
from streamgmm.saving import Saver
from streamgmm.schedules.full_batch import FullBatch
from streamgmm.state import Outcome as Ending
from streamgmm.stopping import Stopping
from tests.making import clustered_rows, rows_source, wide_start
from tests.reliability.outcome import Outcome
from tests.simulation import FakeClock, MemoryRun, SimExecutor

BLOCKS, BLOCK_ROWS, PASSES = 21, 8, 3
MOST_ATTEMPTS = 200  # kills and stops of one fit; without an end it would count as a hang


class Killed(BaseException):
    """The process is gone."""


@dataclass
class World:
    """A small table, where to start, the hash of an undisturbed fit, and what blocks give: it is the same in every schedule."""

    problem: FitProblem
    first: object
    computed: dict = field(default_factory=dict)
    seen: Counter = field(default_factory=Counter)

    @property
    def expected(self):
        return digest(run_fit(self.problem, self.first, Serial()).state)


def world():
    """The last block is not full."""
    rng = np.random.default_rng(9)
    rows = clustered_rows(BLOCKS * BLOCK_ROWS - 3, 2, 2, rng)
    starts = [wide_start("gaussian_full", 2, rows, rng)]
    problem = FitProblem(rows_source(rows, block_rows=BLOCK_ROWS), FullBatch(), stopping=Stopping(tol=0.0, max_iter=PASSES))
    return World(problem, start_state(starts))


def function_of(here):
    """The function of the first pass."""
    return BlockStatistics(tuple(contender.mixture for contender in here.first.contenders), BLOCK_ROWS, hard=False, stamp="first")


def digest(state):
    """Of all that a model keeps of a state."""
    found = hashlib.sha256(repr((state.passes, state.rows, state.weight, state.column_means)).encode())
    for contender in state.contenders:
        found.update(repr(contender.log_likelihoods).encode())
        for value in contender.mixture.to_arrays().values():
            found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def fit_under(seed, here, executor=SimExecutor):
    """The hash of a fit under one schedule, stopped and killed as the seed says and begun again until it is done."""
    luck, clock, run = random.Random(seed), FakeClock(), MemoryRun()
    executor = executor(seed, clock, here.computed)
    patience = luck.choice((2.0, 20.0, 200.0))
    stops, kills = luck.choice(((0.0, 0.0), (0.02, 0.0), (0.0, 0.01), (0.01, 0.01)))
    for _ in range(MOST_ATTEMPTS):
        saver = Saver(run, patience, clock=clock)

        def observe(event):
            if luck.random() < kills:
                raise Killed

        caller = Caller(observe, lambda: luck.random() < stops, saver.due, clock)
        try:
            result = run_fit(here.problem, run.latest(here.first), executor, caller, saver)
        except Killed:
            here.seen["killed"] += 1
            continue
        if result.outcome is not Ending.INTERRUPTED:
            here.seen.update(executor.delivered)
            here.seen["commits"] += run.commits
            return digest(result.state)
        here.seen["stopped"] += 1
    raise AssertionError(f"seed {seed}: no end after {MOST_ATTEMPTS} attempts")


def counting(seen, ledger):
    """The ledger, counting what it does not accept."""

    class Counting(ledger):
        def accept(self, span, partial):
            why = super().accept(span, partial)
            known = why in ("", "late", "twice")
            seen[(f"refused, {why}" if why else "accepted") if known else "refused, foreign"] += 1
            return why

    return Counting


class Strangers(SimExecutor):
    """Among its workers is one of another release: what it gives has this pass's stamp and another form."""

    def map_spans(self, function, merge, source, **options):
        for found in super().map_spans(function, merge, source, **options):
            if isinstance(found, tuple) and self.random.random() < 0.3:
                self.delivered["foreign"] += 1
                yield found[0], foreign(found[1], self.random)
            yield found


def foreign(partial, luck):
    """The partial with one thing changed that no rows of its span could change."""
    one = partial.statistics[0]
    k, d = one.components.first.shape
    moments = (
        {"n": np.ones(1)},
        {"n": np.ones(k + 1)},
        {"n": one.components.n.astype(np.float32)},
        {"first": np.ones((1, d))},
        {"first": np.ones((k, 1))},
        {"second": one.components.second[:, :1]},
        {"second": np.ones((1, 1))},
        {"centre": one.components.centre + 1e-9},
    )
    rows = {"rows": one.rows + luck.choice((-1, 1, one.rows))}, {"skipped": one.skipped + 1}, {"rows": float(one.rows)}
    changes = (*({"components": replace(one.components, **change)} for change in moments), *rows)
    statistics = (replace(one, **luck.choice(changes)),)
    return replace(partial, statistics=luck.choice((statistics, statistics, statistics, partial.statistics * 2)))


def foreign_trials(n: int, seed: int) -> Outcome:
    """The same schedules with results of another form among them."""
    return trials(n, seed, executor=Strangers)


def trials(n: int, seed: int, ledger: type[Ledger] = Ledger, executor: type[SimExecutor] = SimExecutor) -> Outcome:
    """`n` schedules from `seed` on; a violation is another hash, or an error. ledger: another one, to see what the guards are for."""
    here, hashes, violations = world(), Counter(), []
    expected = here.expected
    with patch("streamgmm.passes.Ledger", counting(here.seen, ledger)):
        for number in range(seed, seed + n):
            try:
                found = fit_under(number, here, executor)
            except Exception as error:  # noqa: BLE001  (whatever it is, it ended a fit)
                found = type(error).__name__
            hashes[found] += 1
            if found != expected:
                violations.append(number)
    remarks = {"distinct hashes": len(hashes), "first seeds that failed": violations[:5], **dict(sorted(here.seen.items()))}
    return Outcome("P9", n, len(violations), remarks)
