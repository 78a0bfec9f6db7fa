"""The loop: the only one in the package, a generator of FitStates. Floor 6.

Each round reads blocks (all of them, or those that the schedule chooses) once for all contenders, merges their statistics in the fixed
tree, lets the schedule maximise, and yields the new state; inside a round, states with what is done of it, where the caller asks for
them. What to do with a state (commit it, show it, stop) is the caller's business and the stopping rule's.
"""

__all__ = ["FitResult", "ended_with", "fit_states", "let_given_up_steps_end", "refuse_few_rows", "result_of", "run_fit", "start_state"]

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.em import MixtureStatistics, Partial, Repair
from streamgmm.errors import DataError, NumericalError
from streamgmm.events import Event
from streamgmm.executors._background import in_background
from streamgmm.executors.base import PATIENCE, AbstractExecutor
from streamgmm.held_out_scores import HeldOut
from streamgmm.initialisers._sample import Sample, draw_sample
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.left_behind import left_behind
from streamgmm.mixture import Mixture
from streamgmm.passes import Caller, FitProblem, Observer, Stop, changed_rows, one_pass
from streamgmm.regularisation import Regularisation
from streamgmm.rounds import Turn, added, turn_of
from streamgmm.schedules.base import AbstractSchedule, Look, Step
from streamgmm.sources.base import AbstractSource
from streamgmm.state import BEHIND, Contender, FitState, Outcome, Progress, Tally

MANY_PARAMETERS = 500  # from here on a step that needs the information may take seconds
REPAIRS_A_COMPONENT = 3  # a component that falls again after so many reseeds is left to the floor
SAME_MEAN, ROUNDING = 1e-9, 1e-13  # of a column's deviation, and of its mean: what the order of additions can do is far less
SAME_MEAN_SINGLE, FALL_SINGLE = 1e-5, 1e-5  # the same two in float32 arithmetic
FALL = 1e-9  # relative: a larger fall of the likelihood without a repair is reported

_given_up: list[Future[FitState]] = []  # steps that a fit which was told to stop did not wait for


@dataclass(frozen=True, eq=False)
class FitResult:
    """The winner, how the fit ended and the state it ended in; of rows that were held out, how the winner does on them."""

    mixture: Mixture
    outcome: Outcome
    state: FitState
    held_out: HeldOut | None = None

    @property
    def converged(self) -> bool:
        """Whether the winner converged."""
        return self.state.best.converged

    @property
    def log_likelihoods(self) -> tuple[float, ...]:
        """Mean log-likelihood of the winner at each pass."""
        return self.state.best.log_likelihoods


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
    refuse_few_rows(len(sample.x), n_components)
    return [initialiser.start(family, sample, n_components, child) for child in rng.spawn(n_init)]


def refuse_few_rows(n_rows: int, n_components: int) -> None:
    """Raises DataError where there are fewer rows than components."""
    if n_rows < n_components:
        raise DataError(
            f"n_components={n_components} is larger than the number of rows: Found array with {n_rows} sample(s)"
            f" while a minimum of {n_components} is required."
        )


def sample_for_starts(source: AbstractSource, seed: int) -> Sample:
    """The rows that starts are made from."""
    return draw_sample(source, seed)


def fit_states(problem: FitProblem, state: FitState, executor: AbstractExecutor, caller: Caller | None = None) -> Iterator[FitState]:
    """States after each round until the stopping rule gives an outcome, and within passes where the caller asks for them.

    A round that is interrupted yields what is done of it; going on from there gives the same bits as if nothing had happened. Rows that
    can be read only once end with their first pass.
    """
    _refuse_second_look(problem)
    caller = caller or Caller()
    began = pass_began = caller.clock()
    while state.outcome is None:
        turn = turn_of(problem, state)
        pass_began = pass_began if state.step else caller.clock()
        try:
            whole = yield from one_pass(turn.problem, state, executor, caller, began, pass_began)
            advance = functools.partial(_advance, problem, state, turn, whole.total)
            advanced = _unless_stopped(advance, problem, state, caller, whole.progress)
        except Stop as stop:
            state = replace(state, outcome=stop.outcome, progress=stop.progress)
        else:
            state = replace(advanced, outcome=_outcome(problem, advanced, caller, began))
            if state.outcome is None and caller.stop_requested():
                state = replace(state, outcome=Outcome.INTERRUPTED)
        yield state


def run_fit(
    problem: FitProblem,
    state: FitState,
    executor: AbstractExecutor,
    caller: Caller | None = None,
    on_state: Callable[[FitState], Any] | None = None,
) -> FitResult:
    """The loop to its end; `on_state` sees every new state (to commit it)."""
    last, caller = state, caller or Caller()
    for last in fit_states(problem, state, executor, caller):
        if on_state is not None:
            on_state(last)
    assert last.outcome is not None
    best = last.best
    details = {"outcome": last.outcome.word, "passes": last.passes, "start": best.start}
    caller.observe(Event("finish", last.outcome.value, details))
    return result_of(problem.schedule, last, last.outcome)


def result_of(schedule: AbstractSchedule, state: FitState, outcome: Outcome) -> FitResult:
    """What a fit that has ended in a state gives."""
    return FitResult(ended_with(schedule, state.best), outcome, state)


def ended_with(schedule: AbstractSchedule, contender: Contender) -> Mixture:
    """The mixture that a contender ends with."""
    return schedule.result(contender.mixture, contender.memory, converged=contender.converged)


def _outcome(problem: FitProblem, state: FitState, caller: Caller, began: float) -> Outcome | None:
    """Within a pass, the deadline counts where somebody keeps the state."""
    if state.step and caller.snapshot_due is None:
        return None
    outcome = problem.stopping.outcome(state, caller.clock() - began)
    over = outcome is None and not state.step and not problem.source.repeatable
    return Outcome.PASSES_EXHAUSTED if over else outcome


def _refuse_second_look(problem: FitProblem) -> None:
    if problem.schedule.needs_second_look and not problem.source.repeatable and problem.stopping.max_iter > 1:
        raise DataError(
            f"schedule {problem.schedule.name!r} reads the table several times, which an iterator of arrays cannot give; store the rows"
            " (streamgmm ingest), or pass an array or a store"
        )


def let_given_up_steps_end() -> None:
    """A step that an earlier fit of this process has left limits the threads of linear algebra, for all, until it ends."""
    wait(_given_up)
    _given_up.clear()


def _unless_stopped(
    advance: Callable[[Observer], FitState], problem: FitProblem, state: FitState, caller: Caller, progress: Progress
) -> FitState:
    """The state after a round. A step that takes seconds is not waited for by who is told to stop: the pass is kept as it was read.

    Raises Stop.
    """
    takes_seconds = problem.sample is not None and max(c.mixture.n_parameters for c in state.active) >= MANY_PARAMETERS
    if caller.snapshot_due is None or not takes_seconds:
        return advance(caller.observe)
    said: list[Event] = []  # told when the step has been taken: one that is given up says nothing
    call: Future[FitState] = in_background(advance, said.append)
    _given_up.append(call)
    while not call.done():
        wait([call], timeout=PATIENCE)
        if caller.stop_requested():
            raise Stop(Outcome.INTERRUPTED, progress)
    _given_up.remove(call)
    for event in said:
        caller.observe(event)
    return call.result()


def _advance(problem: FitProblem, state: FitState, turn: Turn, partial: Partial | None, observe: Observer) -> FitState:
    """The state after a round; None: the rows have ended, and with them the pass."""
    if partial is None:
        if not state.step:
            raise DataError("Found array with 0 sample(s) while a minimum of 1 is required: the table has no rows")
        return _end_pass(problem, state, [None] * len(state.active), {}, observe)
    columns: dict[str, Any] = {}
    if turn.is_whole:
        same_blocks = partial.lost == state.lost
        columns = _columns_of(problem, state if same_blocks else replace(state, column_means=()), partial.statistics[0])
    steps = [_stepped(problem, state, turn, *one, observe) for one in zip(state.active, partial.statistics, strict=True)]
    tally = added(turn, state, partial, [_reseeds(step) for step in steps])
    state = replace(_with(state, steps), step=state.step + 1, tally=tally, progress=None)
    return _end_pass(problem, state, [step.converged for step in steps], columns, observe) if state.step == turn.steps else state


def _stepped(
    problem: FitProblem, state: FitState, turn: Turn, contender: Contender, statistics: MixtureStatistics, observe: Observer
) -> Step:
    number = state.passes + 1
    if np.isneginf(statistics.log_likelihood):
        raise NumericalError(
            f"start {contender.start}, pass {number}: the log-likelihood is -inf; a row has density zero under every component."
            " Look for extreme values, or rescale the columns."
        )
    kept = contender.memory, contender.log_likelihoods, problem.stopping.tol, problem.sample
    weight = state.weight if state.passes else (state.tally.weight + statistics.weight) / turn.share
    regularisation = _regularisation(problem, contender)
    look = Look(contender.mixture, statistics, regularisation, *kept, state.step, turn.steps, weight, problem.threads)
    step = problem.schedule.update(look)
    _tell(problem, contender, step, number, observe)
    return step


def _regularisation(problem: FitProblem, contender: Contender) -> Regularisation:
    regularisation = problem.regularisation
    if contender.repairs >= REPAIRS_A_COMPONENT * contender.mixture.n_components and regularisation.on_singular == "reseed":
        regularisation = replace(regularisation, on_singular="floor")
    return regularisation


def _tell(problem: FitProblem, contender: Contender, step: Step, number: int, observe: Observer) -> None:
    for repair in step.repairs:
        observe(_repair_event(repair, contender.start, number, problem.source.feature_names))
    if step.said:
        details = {"pass": number, "start": contender.start, "said": step.said}
        observe(Event("schedule", f"pass {number}, start {contender.start}: {step.said}", details))


def _reseeds(step: Step) -> int:
    return sum(repair.action == "reseed" for repair in step.repairs)


def _with(state: FitState, steps: Sequence[Step]) -> FitState:
    """The state after a step of each active contender."""
    contenders = list(state.contenders)
    for old, step in zip(state.active, steps, strict=True):
        contenders[old.start] = replace(old, mixture=step.mixture, repairs=old.repairs + _reseeds(step), memory=step.memory)
    return replace(state, contenders=tuple(contenders))


def _end_pass(
    problem: FitProblem, state: FitState, verdicts: Sequence[bool | None], columns: dict[str, Any], observe: Observer
) -> FitState:
    """What the rounds of a pass add up to, and who has converged."""
    tally, number = state.tally, state.passes + 1
    if tally.weight <= 0:
        raise DataError(f"no row takes part: {tally.rows} rows read with total weight {tally.weight:g}, {tally.skipped} left out")
    steps = [problem.schedule.close(c.mixture, c.memory, _regularisation(problem, c), tally.weight) for c in state.active]
    for contender, step in zip(state.active, steps, strict=True):
        _tell(problem, contender, step, number, observe)
    state = _with(state, steps)
    reseeds = [before + _reseeds(step) for before, step in zip(tally.reseeds, steps, strict=True)]
    contenders = list(state.contenders)
    for contender, total, verdict, acted in zip(state.active, tally.log_likelihoods, verdicts, reseeds, strict=True):
        value = total / tally.weight
        if problem.schedule.monotone:
            _watch_fall(problem, contender, value, number, observe)
        contenders[contender.start] = _judged(problem, contender, value, verdict, acted)
    read: dict[str, Any] = {"rows": tally.rows, "skipped": tally.skipped, "weight": tally.weight, **columns}
    kept: dict[str, Any] = {"checksums": tally.checksums, "lost": tally.lost, "step": 0, "tally": Tally()}
    state = replace(state, contenders=left_behind(contenders, tally.weight), passes=number, **read, **kept)
    _tell_pass(state, observe)
    _tell_left(contenders, state, observe)
    return state


def _judged(problem: FitProblem, contender: Contender, value: float, verdict: bool | None, reseeds: int) -> Contender:
    history = (*contender.log_likelihoods, value)
    still = len(history) > 1 and abs(history[-1] - history[-2]) < problem.stopping.tol
    return replace(contender, log_likelihoods=history, converged=(still if verdict is None else verdict) and not reseeds)


def _tell_pass(state: FitState, observe: Observer) -> None:
    best = state.best
    details = {"pass": state.passes, "log_likelihood": best.log_likelihood, "rows": state.rows, "skipped": state.skipped}
    change = best.log_likelihoods[-1] - best.log_likelihoods[-2] if len(best.log_likelihoods) > 1 else None
    said = "" if change is None else f", change {change:.3g}"
    observe(Event("pass", f"pass {state.passes}: log-likelihood {best.log_likelihood:.10g} per row{said}", {**details, "change": change}))
    if state.skipped and state.passes == 1:
        observe(Event("skipped", f"{state.skipped:,} rows are left out", {"rows": state.skipped}))


def _tell_left(before: Sequence[Contender], state: FitState, observe: Observer) -> None:
    for old, new in zip(before, state.contenders, strict=True):
        if BEHIND in new.memory and BEHIND not in old.memory:
            details = {"pass": state.passes, "start": new.start}
            observe(Event("schedule", f"pass {state.passes}, start {new.start}: left behind, it cannot win any more", details))


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
    if changed:
        raise changed_rows(problem, changed)
    return {"column_means": tuple(float(m) for m in means), "column_deviations": tuple(float(s) for s in deviations)}


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
