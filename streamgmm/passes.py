"""One pass: every block once, counted once, compared with the pass before, left and taken up anywhere. Floor 6.

What is fitted to what (`FitProblem`), what the loop asks of its caller (`Caller`), and a generator that gives the sum over all blocks.
"""

__all__ = ["BlockStatistics", "Caller", "FitProblem", "Observer", "Stop", "changed_rows", "check_saved_part", "one_pass", "stamp_of"]

import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from streamgmm.block import Block
from streamgmm.checksums import checksum
from streamgmm.em import LostBlock, Partial, e_step, merge_partials
from streamgmm.errors import CheckpointError, DataChangedError, NondeterminismError, StreamGMMError
from streamgmm.events import Event, ignore
from streamgmm.executors.base import AbstractExecutor, never
from streamgmm.ledger import Ledger
from streamgmm.mixture import Mixture
from streamgmm.partial_check import PartialCheck, check_of
from streamgmm.reduce import Span
from streamgmm.regularisation import Regularisation
from streamgmm.schedules.base import AbstractSchedule
from streamgmm.sources.base import AbstractSource
from streamgmm.state import NO_CHECKSUMS, FitState, Outcome, Progress
from streamgmm.stopping import Stopping

Observer = Callable[[Event], None]


@dataclass(frozen=True, eq=False)
class FitProblem:
    """What is fitted to what, and how: all that the loop needs besides where to start and where to run.

    sample: rows in memory with the weight that each stands for, for schedules that ask them. seed: of the order in which schedules read.
    threads: for what schedules compute from the sample.
    """

    source: AbstractSource
    schedule: AbstractSchedule
    regularisation: Regularisation = Regularisation()
    stopping: Stopping = Stopping()
    hard: bool = False
    arithmetic: str = "float64"
    sample: Block | None = None
    seed: int = 0
    threads: int = 1

    @property
    def single(self) -> bool:
        """Whether the arithmetic is float32."""
        return self.arithmetic == "float32"


@dataclass(frozen=True, eq=False)
class BlockStatistics:
    """The function that executors map: one block's statistics for all mixtures. check: take a checksum of its rows, too."""

    mixtures: tuple[Mixture, ...]
    block_rows: int
    hard: bool
    arithmetic: str = "float64"
    stamp: str = ""
    check: bool = False

    def __call__(self, block: Block) -> Partial:
        """The partial of one block."""
        statistics = e_step(self.mixtures, block, block_rows=self.block_rows, hard=self.hard, arithmetic=self.arithmetic)
        checksums = np.array([checksum(block.x, block.sample_weight)], np.uint32) if self.check else NO_CHECKSUMS
        lost = (LostBlock(block.index, block.skipped, block.damage),) if block.damage else ()
        return Partial(self.stamp, statistics, checksums, lost)


@dataclass(frozen=True, eq=False)
class Caller:
    """What the loop asks its caller, between any two blocks.

    observe: told what happens. stop_requested: whether to stop. snapshot_due: whether to yield what is done of the pass; None where
    nobody keeps states: then a deadline, too, waits for the end of the pass. clock: seconds since any moment. on_sums: given the state
    before every pass over the whole table, and what its spans have given, but for the last one.
    """

    observe: Observer = ignore
    stop_requested: Callable[[], bool] = never
    snapshot_due: Callable[[], bool] | None = None
    clock: Callable[[], float] = time.monotonic
    on_sums: Callable[[FitState, tuple[tuple[Span, Partial], ...]], None] | None = None


class Stop(Exception):
    """Raised inside a pass when the fit is told to stop; never leaves the loop."""

    def __init__(self, outcome: Outcome, progress: Progress) -> None:
        super().__init__()
        self.outcome, self.progress = outcome, progress


class Whole(NamedTuple):
    """What a pass has given: the sum over all blocks, None where there are none, and the same as a state keeps it."""

    total: Partial | None
    progress: Progress


def one_pass(
    problem: FitProblem, state: FitState, executor: AbstractExecutor, caller: Caller, began: float, pass_began: float | None = None
) -> Generator[FitState, None, Whole]:
    """The sum over all blocks; yields states with what is done.

    Raises Stop where the caller, or the deadline, ends it before. pass_began: where this is a round within a pass that began before.
    """
    function, check = _block_statistics(problem, state)
    done = _done_before(problem, state, function.stamp, check, caller.observe)
    ledger = Ledger(function.stamp, problem.source.n_blocks, done, problem.source.number, check.misfit)
    pass_began, missing = caller.clock() if pass_began is None else pass_began, ledger.missing
    while True:
        try:
            yield from _round(problem, state, executor, caller, (began, pass_began), function, check, ledger)
        except StreamGMMError:
            if caller.snapshot_due is not None and ledger.worth_saving:  # a lost cluster or store need not cost what was done
                yield replace(state, progress=Progress(ledger.stamp, ledger.worth_saving))
            raise
        if not 0 < ledger.missing < missing:  # all is there, or nothing of it comes: then the total says so
            break
        missing = ledger.missing
    total = ledger.total()
    problem.source.refuse_changes()
    if caller.on_sums is not None and problem.source.whole is problem.source:
        caller.on_sums(state, ledger.lasting)
    return Whole(total, Progress(ledger.stamp, ledger.worth_saving))


def _round(
    problem: FitProblem,
    state: FitState,
    executor: AbstractExecutor,
    caller: Caller,
    began: tuple[float, float],
    function: BlockStatistics,
    check: PartialCheck,
    ledger: Ledger,
) -> Iterator[FitState]:
    """All that the executor delivers of what is missing. A late part of a span makes the whole come twice: another round does the rest."""
    done = [span for span, _ in ledger.held]
    said = len(problem.source.retries)
    with closing(executor.map_spans(function, merge_partials, problem.source, done=done, sound=check)) as found:
        try:
            for one in found:
                said = _say_retries(problem, caller.observe, said)
                if not isinstance(one, Event):
                    _account(problem, state, ledger, caller.observe, *one)
                    caller.observe(_reading(problem, state, ledger, caller.clock() - began[1]))
                elif one.kind != "waiting":
                    caller.observe(one)
                outcome = _told_to_stop(problem, caller, began[0])
                if outcome is not None:
                    raise Stop(outcome, Progress(ledger.stamp, ledger.worth_saving))
                if caller.snapshot_due is not None and caller.snapshot_due():
                    yield replace(state, progress=Progress(ledger.stamp, ledger.worth_saving))
        finally:
            _say_retries(problem, caller.observe, said)


def _say_retries(problem: FitProblem, observe: Observer, said: int) -> int:
    """Reads that were tried again in this process since the first `said` of them."""
    retries = problem.source.retries
    for block, attempt, reason in retries[said:]:
        observe(Event("retry", f"block {block}: try {attempt} failed, {reason}", {"block": block, "try": attempt, "reason": reason}))
    return len(retries)


def stamp_of(problem: FitProblem, state: FitState) -> str:
    """What partials of the pass after this state carry."""
    return _block_statistics(problem, state)[0].stamp


def _block_statistics(problem: FitProblem, state: FitState) -> tuple[BlockStatistics, PartialCheck]:
    """The function of a pass, and the check of what it gives."""
    mixtures = tuple(c.mixture for c in state.active)
    number = f"{state.passes}" if problem.source.whole is problem.source else f"{state.passes}.{state.step}"
    stamp = hashlib.sha256(f"{number} {problem.source.block_rows} {problem.hard} {problem.arithmetic}".encode())
    for contender in state.active:
        stamp.update(f"{contender.start}".encode())
        for value in contender.mixture.to_arrays().values():
            stamp.update(np.ascontiguousarray(value).tobytes())
    how = problem.source.block_rows, problem.hard, problem.arithmetic
    function = BlockStatistics(mixtures, *how, stamp.hexdigest()[:16], not problem.source.in_memory)
    return function, check_of(mixtures, problem.source, hard=problem.hard, arithmetic=problem.arithmetic)


def check_saved_part(problem: FitProblem, state: FitState, observe: Observer) -> None:
    """What a pass would say of the part of it that a state holds. No row is read. Raises CheckpointError."""
    function, check = _block_statistics(problem, state)
    _done_before(problem, state, function.stamp, check, observe)


def _done_before(
    problem: FitProblem, state: FitState, stamp: str, check: PartialCheck, observe: Observer
) -> tuple[tuple[Span, Partial], ...]:
    """What an interrupted pass has left, where it is of this very pass. Raises CheckpointError where it cannot be of this table."""
    if state.progress is None:
        return ()
    if state.progress.stamp != stamp:
        observe(Event("warning", "the part of a pass that was saved belongs to other parameters: the pass begins anew"))
        return ()
    n_blocks = problem.source.n_blocks
    for span, partial in state.progress.done:
        fault = check(span, partial) if n_blocks is not None else "nobody knows how many blocks there are"
        if fault:
            raise CheckpointError(
                f"the saved part of pass {state.passes + 1}, blocks from {span.first} on, cannot be of this table of {n_blocks} blocks:"
                f" {fault}; use the commit before, or a new run folder"
            )
    return state.progress.done


def _account(problem: FitProblem, state: FitState, ledger: Ledger, observe: Observer, span: Span, partial: Partial) -> None:
    """Count a partial once, and compare its rows with those of the pass before."""
    refused = ledger.accept(span, partial)
    if refused not in ("", "late", "twice"):
        observe(
            Event("refused", f"the result of blocks from {span.first} on is refused: {refused}", {"first": span.first, "fault": refused})
        )
    if refused:
        return
    known = state.lost_blocks
    for lost in partial.lost:
        if lost.block not in known:
            message = f"block {lost.block} is left out with its {lost.rows:,} rows: {lost.reason}"
            observe(Event("skipped", message, {"block": lost.block, "rows": lost.rows, "reason": lost.reason}))
    numbers = [problem.source.number(span.first + i) for i in range(len(partial.checksums))]
    if not numbers or max(numbers) >= len(state.checksums):
        return
    expected = state.checksums[numbers]
    differ = expected != partial.checksums
    if not differ.any():
        return
    left_out = {one.block for one in partial.lost}
    for at in map(int, np.flatnonzero(differ)):
        differ[at] = numbers[at] not in known and numbers[at] not in left_out
    if not differ.any():
        return
    at = int(np.argmax(differ))
    found = f"block {numbers[at]} had checksum {expected[at]:08x} in the pass before and has {partial.checksums[at]:08x} now"
    raise changed_rows(problem, found)


def changed_rows(problem: FitProblem, found: str) -> Exception:
    """The error of rows that are not those of the pass before."""
    if problem.source.computed:
        return NondeterminismError(f"the rows differ from pass to pass: {found}. Persist the Dask graph, or store its rows first.")
    return DataChangedError(f"the rows have changed since the pass before: {found}. Use a new run folder for the new rows.")


def _reading(problem: FitProblem, state: FitState, ledger: Ledger, seconds: float) -> Event:
    rows, number = state.tally.rows + state.tally.skipped + ledger.rows, state.passes + 1
    details = {"pass": number, "rows": rows, "of": problem.source.whole.n_rows, "seconds": seconds}
    return Event("reading", f"pass {number}: {rows:,} rows", details)


def _told_to_stop(problem: FitProblem, caller: Caller, began: float) -> Outcome | None:
    if caller.stop_requested():
        return Outcome.INTERRUPTED
    deadline = problem.stopping.deadline
    late = deadline is not None and caller.snapshot_due is not None and caller.clock() - began >= deadline
    return Outcome.DEADLINE if late else None
