"""The loop: the only one in the package, a generator of FitStates. Floor 6.

Each round reads every block once for all contenders, merges their statistics in the fixed tree, lets the schedule maximise, and
yields the new state. What to do with a state (commit it, show it, stop) is the caller's business and the stopping rule's.
"""

__all__ = ["FitProblem", "FitResult", "fit_states", "run_fit", "start_state"]

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from streamgmm.block import Block
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.em import MixtureStatistics, Repair, e_step, merge_all
from streamgmm.errors import DataChangedError, DataError, NondeterminismError, NumericalError
from streamgmm.events import Event, ignore
from streamgmm.executors.base import AbstractExecutor, never
from streamgmm.initialisers._sample import Sample, draw_sample
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.mixture import Mixture
from streamgmm.reduce import Span
from streamgmm.regularisation import Regularisation
from streamgmm.schedules.base import AbstractSchedule
from streamgmm.sources.base import AbstractSource
from streamgmm.state import Contender, FitState, Outcome
from streamgmm.stopping import Stopping

Observer = Callable[[Event], None]

REPAIRS_A_COMPONENT = 3  # a component that falls again after so many reseeds is left to the floor
SAME_MEAN, ROUNDING = 1e-9, 1e-13  # of a column's deviation, and of its mean: what the order of additions can do is far less
SAME_MEAN_SINGLE, FALL_SINGLE = 1e-5, 1e-5  # the same two in float32 arithmetic
FALL = 1e-9  # relative: a larger fall of the likelihood without a repair is reported


@dataclass(frozen=True, eq=False)
class FitProblem:
    """What is fitted to what, and how: all that the loop needs besides where to start and where to run."""

    source: AbstractSource
    schedule: AbstractSchedule
    regularisation: Regularisation = Regularisation()
    stopping: Stopping = Stopping()
    hard: bool = False
    arithmetic: str = "float64"

    @property
    def single(self) -> bool:
        """Whether the arithmetic is float32."""
        return self.arithmetic == "float32"


@dataclass(frozen=True, eq=False)
class FitResult:
    """The winner, how the fit ended and the state it ended in."""

    mixture: Mixture
    outcome: Outcome
    state: FitState

    @property
    def converged(self) -> bool:
        """Whether the winner converged."""
        return self.state.best.converged

    @property
    def log_likelihoods(self) -> tuple[float, ...]:
        """Mean log-likelihood of the winner at each pass."""
        return self.state.best.log_likelihoods


@dataclass(frozen=True, eq=False)
class BlockStatistics:
    """The function that executors map: one block's statistics for all mixtures."""

    mixtures: tuple[Mixture, ...]
    block_rows: int
    hard: bool
    arithmetic: str = "float64"

    def __call__(self, block: Block) -> tuple[MixtureStatistics, ...]:
        return e_step(self.mixtures, block, block_rows=self.block_rows, hard=self.hard, arithmetic=self.arithmetic)


class Stop(Exception):
    """Raised inside a pass when the fit is told to stop; never leaves the loop."""


def start_state(mixtures: Sequence[Mixture]) -> FitState:
    """Before the first pass: one contender for each start."""
    return FitState(tuple(Contender(i, mixture) for i, mixture in enumerate(mixtures)))


def starts_from_sample(
    initialiser: AbstractInitialiser,
    family: type[AbstractGaussian],
    sample: Sample,
    n_components: int,
    n_init: int,
    rng: np.random.Generator,
) -> list[Mixture]:
    """`n_init` starts, each from a generator of its own. Raises DataError where there are fewer rows than components."""
    if len(sample.x) < n_components:
        raise DataError(
            f"n_components={n_components} is larger than the number of rows: Found array with {len(sample.x)} sample(s)"
            f" while a minimum of {n_components} is required."
        )
    return [initialiser.start(family, sample, n_components, child) for child in rng.spawn(n_init)]


def sample_for_starts(source: AbstractSource, seed: int) -> Sample:
    """The rows that starts are made from."""
    return draw_sample(source, seed)


def fit_states(
    problem: FitProblem,
    state: FitState,
    executor: AbstractExecutor,
    observe: Observer = ignore,
    stop_requested: Callable[[], bool] = never,
) -> Iterator[FitState]:
    """States after each pass until the stopping rule gives an outcome. An interrupted pass yields the state before it."""
    _refuse_second_look(problem)
    began = time.monotonic()
    while state.outcome is None:
        try:
            statistics = _one_pass(problem, state, executor, observe, stop_requested)
        except Stop:
            state = replace(state, outcome=Outcome.INTERRUPTED)
        else:
            state = _advance(problem, state, statistics, observe)
            state = replace(state, outcome=problem.stopping.outcome(state, time.monotonic() - began))
            if state.outcome is None and stop_requested():
                state = replace(state, outcome=Outcome.INTERRUPTED)
        yield state


def run_fit(
    problem: FitProblem,
    state: FitState,
    executor: AbstractExecutor,
    observe: Observer = ignore,
    stop_requested: Callable[[], bool] = never,
    on_state: Callable[[FitState], Any] | None = None,
) -> FitResult:
    """The loop to its end; `on_state` sees every new state (to commit it)."""
    last = state
    for last in fit_states(problem, state, executor, observe, stop_requested):
        if on_state is not None:
            on_state(last)
    assert last.outcome is not None
    best = last.best
    observe(Event("finish", last.outcome.value, {"outcome": last.outcome.word, "passes": last.passes, "start": best.start}))
    return FitResult(best.mixture, last.outcome, last)


def _refuse_second_look(problem: FitProblem) -> None:
    if problem.schedule.needs_second_look and not problem.source.repeatable and problem.stopping.max_iter > 1:
        raise DataError(
            f"schedule {problem.schedule.name!r} reads the table several times, which an iterator of arrays cannot give; store the rows"
            " (streamgmm ingest), or pass an array or a store"
        )


def _one_pass(
    problem: FitProblem, state: FitState, executor: AbstractExecutor, observe: Observer, stop_requested: Callable[[], bool]
) -> tuple[MixtureStatistics, ...]:
    began, rows = time.monotonic(), 0
    mixtures = tuple(c.mixture for c in state.active)
    function = BlockStatistics(mixtures, problem.source.block_rows, problem.hard, problem.arithmetic)

    def on_span(span: Span, value: tuple[MixtureStatistics, ...]) -> None:
        nonlocal rows
        rows += value[0].rows + value[0].skipped
        if stop_requested():
            raise Stop
        details = {"pass": state.passes + 1, "rows": rows, "of": problem.source.n_rows, "seconds": time.monotonic() - began}
        observe(Event("reading", f"pass {state.passes + 1}: {rows:,} rows", details))

    total = executor.map_reduce(function, merge_all, problem.source, on_span)
    problem.source.refuse_changes()
    if total is None:
        raise DataError("Found array with 0 sample(s) while a minimum of 1 is required: the table has no rows")
    return total


def _advance(problem: FitProblem, state: FitState, statistics: tuple[MixtureStatistics, ...], observe: Observer) -> FitState:
    columns = _columns_of(problem, state, statistics[0])
    contenders = list(state.contenders)
    for contender, mine in zip(state.active, statistics, strict=True):
        contenders[contender.start] = _advance_one(problem, contender, mine, state.passes + 1, observe)
    first = statistics[0]
    read: dict[str, Any] = {"rows": first.rows, "skipped": first.skipped, "weight": first.weight, **columns}
    state = replace(state, contenders=tuple(contenders), passes=state.passes + 1, **read)
    best = state.best
    details = {"pass": state.passes, "log_likelihood": best.log_likelihood, "rows": state.rows, "skipped": state.skipped}
    change = best.log_likelihoods[-1] - best.log_likelihoods[-2] if len(best.log_likelihoods) > 1 else None
    said = "" if change is None else f", change {change:.3g}"
    observe(Event("pass", f"pass {state.passes}: log-likelihood {best.log_likelihood:.10g} per row{said}", {**details, "change": change}))
    if state.skipped and state.passes == 1:
        observe(Event("skipped", f"{state.skipped:,} rows with missing values are left out", {"rows": state.skipped}))
    return state


def _columns_of(problem: FitProblem, state: FitState, statistics: MixtureStatistics) -> dict[str, tuple[float, ...]]:
    """Mean and deviation of every column over the rows of this pass: no parameter enters them, so they are the same in every pass.

    Raises DataChangedError, or NondeterminismError where the rows are computed anew at each read, when they are not.
    """
    if statistics.weight <= 0 or not statistics.components.is_finite():
        return {}  # the M-step says what is wrong
    means, deviations = state.active[0].mixture.components.column_moments(statistics.components)
    changed = ""
    if state.column_means and (statistics.rows, statistics.skipped) != (state.rows, state.skipped):
        was = f"{state.rows} rows and {state.skipped} left out"
        changed = f"the pass before read {was}, this one {statistics.rows} and {statistics.skipped}"
    elif state.column_means:
        before = np.array(state.column_means)
        same = SAME_MEAN_SINGLE if problem.single else SAME_MEAN
        allowed = same * np.array(state.column_deviations) + ROUNDING * np.abs(before)
        for j in np.flatnonzero(~(np.abs(means - before) <= allowed))[:1]:
            changed = f"the mean of column {problem.source.feature_names[j]!r} was {before[j]!r} in the pass before and is {means[j]!r} now"
    if changed and problem.source.computed:
        raise NondeterminismError(f"the rows differ from pass to pass: {changed}. Persist the Dask graph, or store its rows first.")
    if changed:
        raise DataChangedError(f"the rows have changed since the pass before: {changed}. Use a new run folder for the new rows.")
    return {"column_means": tuple(float(m) for m in means), "column_deviations": tuple(float(s) for s in deviations)}


def _advance_one(problem: FitProblem, contender: Contender, statistics: MixtureStatistics, number: int, observe: Observer) -> Contender:
    regularisation = problem.regularisation
    if contender.repairs >= REPAIRS_A_COMPONENT * contender.mixture.n_components and regularisation.on_singular == "reseed":
        regularisation = replace(regularisation, on_singular="floor")
    if np.isneginf(statistics.log_likelihood):
        raise NumericalError(
            f"start {contender.start}, pass {number}: the log-likelihood is -inf; a row has density zero under every component."
            " Look for extreme values, or rescale the columns."
        )
    mixture, repairs = problem.schedule.update(contender.mixture, statistics, regularisation)
    value = statistics.mean_log_likelihood
    for repair in repairs:
        observe(_repair_event(repair, contender.start, number, problem.source.feature_names))
    _watch_fall(problem, contender, value, number, observe)
    history = (*contender.log_likelihoods, value)
    converged = len(history) > 1 and abs(history[-1] - history[-2]) < problem.stopping.tol
    acted = sum(repair.action == "reseed" for repair in repairs)
    return replace(
        contender, mixture=mixture, log_likelihoods=history, converged=converged and not acted, repairs=contender.repairs + acted
    )


def _watch_fall(problem: FitProblem, contender: Contender, value: float, number: int, observe: Observer) -> None:
    """EM never lowers the likelihood; a ridge (reg_covar), a floor or hard assignment may."""
    before = contender.log_likelihood
    fall = FALL_SINGLE if problem.single else FALL
    if np.isfinite(before) and before - value > fall * max(1.0, abs(before)):
        message = f"pass {number}, start {contender.start}: the log-likelihood fell by {before - value:.3g} per row"
        observe(Event("fall", message, {"pass": number, "start": contender.start, "fall": before - value}))


def _repair_event(repair: Repair, start: int, number: int, feature_names: tuple[str, ...]) -> Event:
    fault = repair.fault
    whom = "the shared covariance" if fault.component < 0 else f"component {fault.component}"
    column = feature_names[fault.column] if fault.column >= 0 else None
    what = "rows" if fault.kind == "occupancy" else "relative variance"
    along = "" if column is None else f" along {column}"
    message = f"pass {number}, start {start}: {whom} has {what} {fault.value:.3g}{along}, floor {fault.floor:.3g}: {repair.action}"
    details = {"pass": number, "start": start, "component": fault.component, "column": column, "kind": fault.kind}
    return Event(repair.action, message, {**details, "value": fault.value, "floor": fault.floor})
