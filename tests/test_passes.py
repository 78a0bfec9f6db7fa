"""Passes that are left and taken up: laws of the ledger, of what remains, of commits by time."""

import json
import threading
from dataclasses import dataclass, field, replace
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.checkpoint import Run
from streamgmm.commit_file import Link, pack
from streamgmm.configuration import FitConfiguration
from streamgmm.em import LostBlock, Partial
from streamgmm.errors import CheckpointError, ChunkCorruptError, DataChangedError, NondeterminismError, NumericalError, StorageError
from streamgmm.events import Event, ignore
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.fit import fit_states, run_fit, start_state
from streamgmm.job import Job, saved_model
from streamgmm.ledger import Ledger
from streamgmm.partial_check import check_of
from streamgmm.passes import BlockStatistics, Caller, FitProblem
from streamgmm.reduce import Span, TreeReducer, remaining
from streamgmm.regularisation import Regularisation
from streamgmm.saving import SHARE, Saver
from streamgmm.schedules.auto import Auto
from streamgmm.schedules.full_batch import FullBatch
from streamgmm.state import FitState, Outcome, Progress
from streamgmm.stopping import Stopping
from tests.making import CountedRows, as_arrays_equal, em_steps, fit_rows, rows_source, same_bits, wide_start

N_BLOCKS = 11


@pytest.fixture
def table(rng):
    return np.concatenate([rng.normal(-3, 1, (600, 2)), rng.normal(2, 2, (470, 2))])


@pytest.fixture
def starts(table, rng):
    return [wide_start("gaussian_full", k, table, rng) for k in (2, 3)]


def problem_of(table, **stopping):
    return FitProblem(
        rows_source(table, block_rows=100), FullBatch(), Regularisation(0.0), Stopping(**{"tol": 0.0, "max_iter": 3, **stopping})
    )


def through_a_record(state):
    arrays, record = state.to_record()
    return FitState.from_record({name: value.copy() for name, value in arrays.items()}, json.loads(json.dumps(record)))


# ---- what remains ----------------------------------------------------------------------------------------------------


@st.composite
def tables_in_work(draw):
    """A number of blocks, a level, and disjoint spans that are done."""
    n_blocks, level = draw(st.integers(1, 70)), draw(st.integers(0, 5))
    tree = TreeReducer(lambda a, b: a + b)
    for number in draw(st.lists(st.integers(0, n_blocks - 1), unique=True)):
        tree.add(Span(number, 0), 1)
    return n_blocks, level, [span for span, _ in tree.held]


@given(tables_in_work())
def test_what_is_done_and_what_remains_are_all_blocks_once(given_table):
    n_blocks, level, done = given_table
    left = list(remaining(n_blocks, level, done))
    blocks = sorted(block for span in (*left, *done) for block in range(span.first, span.last(n_blocks)))
    assert blocks == list(range(n_blocks))
    assert all(span.level <= level for span in left)
    assert [span.first for span in left] == sorted(span.first for span in left)


@given(st.integers(1, 70), st.integers(0, 5))
def test_without_anything_done_the_spans_are_those_of_one_level(n_blocks, level):
    assert [span.level for span in remaining(n_blocks, level)] == [level] * (-(-n_blocks >> level))


# ---- the ledger ------------------------------------------------------------------------------------------------------


def partials_of(table, mixture, stamp="now"):
    source = rows_source(table, block_rows=100)
    function = BlockStatistics((mixture,), 100, hard=False, stamp=stamp, check=True)
    return [function(source.read(index)) for index in range(source.n_blocks)]


def same_partials(a, b):
    return np.array_equal(a.checksums, b.checksums) and all(map(as_arrays_equal, a.statistics, b.statistics))


@settings(max_examples=50)
@given(data=st.data())
def test_any_order_with_late_and_repeated_results_gives_the_same_sum(data):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(1070, 2))
    mixture = wide_start("gaussian_full", 2, table, rng)
    partials, late = partials_of(table, mixture), partials_of(table + 1, mixture, stamp="before")
    ledger, in_order = Ledger("now", N_BLOCKS), Ledger("now", N_BLOCKS)
    for index, partial in enumerate(partials):
        assert in_order.accept(Span(index, 0), partial) == ""
    for index in data.draw(st.permutations([*range(N_BLOCKS), *range(0, N_BLOCKS, 3)])):
        assert ledger.accept(Span(index, 0), late[index]) == "late"
        ledger.accept(Span(index, 0), partials[index])
        if data.draw(st.booleans()):
            ledger = Ledger("now", N_BLOCKS, ledger.held)
    assert same_partials(ledger.total(), in_order.total())


def test_the_same_again_is_dropped_and_other_numbers_are_an_error(table, starts):
    partials, ledger = partials_of(table, starts[0]), Ledger("now", N_BLOCKS)
    assert ledger.accept(Span(4, 0), partials[4]) == ""
    assert ledger.accept(Span(4, 0), partials[4]) == "twice"
    with pytest.raises(NondeterminismError, match="block 4 gave two different results"):
        ledger.accept(Span(4, 0), partials[5])


def test_a_span_that_overlaps_what_was_counted_does_not_count(table, starts):
    partials, ledger = partials_of(table, starts[0]), Ledger("now", N_BLOCKS)
    ledger.accept(Span(4, 0), partials[4])
    assert ledger.accept(Span(2, 1), partials[4].merge(partials[5])) == "twice"
    assert ledger.rows == 100


def test_a_missing_block_is_named(table, starts):
    ledger = Ledger("now", N_BLOCKS)
    for index, partial in enumerate(partials_of(table, starts[0])):
        if index != 7:
            ledger.accept(Span(index, 0), partial)
    with pytest.raises(NumericalError, match="10 of 11 blocks were delivered; block 7 was not"):
        ledger.total()


def test_partials_of_different_passes_do_not_merge(table, starts):
    with pytest.raises(ValueError, match="do not merge"):
        partials_of(table, starts[0])[0].merge(partials_of(table, starts[0], stamp="then")[1])


def test_a_partial_that_no_rows_can_give_has_a_fault(table, starts):
    good = partials_of(table, starts[0])[0]
    assert good.fault() == ""
    for name, value, said in (
        ("log_likelihood", np.nan, "not finite"),
        ("weight", -1.0, "less than nothing"),
        ("rows", -1, "less than nothing"),
    ):
        bad = Partial("now", (replace(good.statistics[0], **{name: value}),), good.checksums)
        assert said in bad.fault()


FOREIGN = {
    "another number of components": (lambda p: {"components": moments(p, n=np.ones(1))}, "n: float64 of shape"),
    "other columns": (lambda p: {"components": moments(p, first=np.ones((3, 5)))}, "first: float64 of shape"),
    "other moments": (lambda p: {"components": moments(p, second=np.ones((3, 1)))}, "second: float64 of shape"),
    "another dtype": (lambda p: {"components": moments(p, n=np.ones(3, np.float32))}, "n: float32"),
    "another reference": (lambda p: {"components": moments(p, centre=p.components.centre + 1)}, "about another reference"),
    "more rows": (lambda p: {"rows": p.rows + 1}, "counts 101 rows, the span has 100"),
    "rows of type float": (lambda p: {"rows": float(p.rows)}, "rows: float64"),
    "too few responsibilities": (lambda p: {"components": moments(p, n=p.components.n / 2)}, "add up to 50, the rows weigh 100"),
    "too much weight": (lambda p: {"weight": 2 * p.weight}, "the 100 rows of start 0 weigh 200"),
}


def moments(statistics, **changed):
    return replace(statistics.components, **changed)


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_partial_of_another_form_is_refused(kind, table, starts):
    """A worker of another release that the first look let through, W5."""
    change, said = FOREIGN[kind]
    mixture = starts[0]
    good = partials_of(table, mixture)[0]
    check = check_of((mixture,), rows_source(table, block_rows=100), hard=False, arithmetic="float64")
    assert check(Span(0, 0), good) == ""
    bad = replace(good, statistics=(replace(good.statistics[0], **change(good.statistics[0])),))
    assert said in check(Span(0, 0), bad)
    assert bool(check.misfit(Span(0, 0), bad)) == (not kind.startswith("too "))
    assert "of 2 starts" in check(Span(0, 0), replace(good, statistics=good.statistics * 2))
    assert "2 checksums for 1 block" in check(Span(0, 0), replace(good, checksums=np.zeros(2, np.uint32)))
    assert "there are 11" in check(Span(11, 0), good)


# ---- states within a pass --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_going_on_from_any_block_gives_the_same_bits_and_reads_no_block_twice(executor, table, starts):
    whole = fit_rows(rows_source(table, block_rows=100), starts, tol=0.0, max_iter=3)
    problem = problem_of(table)
    states = list(fit_states(problem, start_state(starts), executor, Caller(snapshot_due=lambda: True)))
    assert sum(state.progress is not None for state in states) >= 3 * N_BLOCKS
    for state in states[:: 1 if executor.name == "serial" else 3]:
        problem.source.reads.clear()
        result = run_fit(problem, through_a_record(state), Threads(2))
        assert same_bits(result.mixture, whole.mixture)
        assert result.log_likelihoods == whole.log_likelihoods
        done = 0 if state.progress is None else round(sum(partial.rows for _, partial in state.progress.done) / 100 + 0.3)
        passes_left = 3 - state.passes
        assert len(problem.source.reads) == (0 if state.outcome else passes_left * N_BLOCKS - done)


def test_a_stop_leaves_what_is_done_and_nothing_of_it_is_done_again(table, starts):
    problem, seen = problem_of(table), []
    caller = Caller(observe=seen.append, stop_requested=lambda: sum(event.kind == "reading" for event in seen) >= 16)
    stopped = run_fit(problem, start_state(starts), Serial(), caller)
    assert stopped.outcome is Outcome.INTERRUPTED
    assert stopped.state.passes == 1
    assert sum(partial.rows for _, partial in stopped.state.progress.done) == 500
    problem.source.reads.clear()
    result = run_fit(problem, stopped.state.reopened(), Serial())
    assert problem.source.reads[:6] == [5, 6, 7, 8, 9, 10]
    assert result.state.passes == 3


def test_a_deadline_ends_a_pass_where_somebody_keeps_the_state(table, starts):
    ticks = iter(range(1000))
    caller = Caller(snapshot_due=lambda: False, clock=lambda: next(ticks))
    stopped = run_fit(problem_of(table, deadline=9.0), start_state(starts), Serial(), caller)
    assert stopped.outcome is Outcome.DEADLINE
    assert stopped.state.passes == 0
    assert 0 < sum(partial.rows for _, partial in stopped.state.progress.done) < len(table)


def part_of_a_pass(problem, starts):
    """A state in the middle of the second pass."""
    states = fit_states(problem, start_state(starts), Serial(), Caller(snapshot_due=lambda: True))
    return next(state for state in states if state.passes == 1 and state.progress is not None and len(state.progress.done) > 1)


def test_a_part_of_a_pass_about_other_parameters_is_left_out_and_said(table, starts):
    problem, seen = problem_of(table), []
    state = part_of_a_pass(problem, starts)
    other = replace(state, contenders=tuple(replace(c, mixture=start) for c, start in zip(state.contenders, starts, strict=True)))
    problem.source.reads.clear()
    next(fit_states(problem, other, Serial(), Caller(observe=seen.append)))
    assert problem.source.reads == list(range(N_BLOCKS))
    assert any("other parameters" in event.message for event in seen)


def test_a_part_of_a_pass_beyond_the_end_of_the_table_is_refused(table, starts):
    """Catalogue row K14."""
    state = part_of_a_pass(problem_of(table), starts)
    with pytest.raises(CheckpointError, match="cannot be of this table of 2 blocks"):
        next(fit_states(problem_of(table[:150]), state, Serial()))


@pytest.mark.parametrize("change", ["overlap", "rows", "beyond"])
def test_a_record_that_does_not_describe_its_spans_is_refused(change, table, starts):
    """Catalogue row K14."""
    arrays, record = part_of_a_pass(problem_of(table), starts).to_record()
    spans = record["progress"]["spans"]
    if change == "overlap":
        spans[1].update(number=spans[0]["number"], level=spans[0]["level"])
    elif change == "rows":
        spans[0]["rows"] += 1
    else:
        spans[0]["number"] = -1
    with pytest.raises(CheckpointError, match="does not fit its description"):
        FitState.from_record(arrays, record)


def test_rows_that_change_between_two_halves_of_a_fit_are_found_at_their_block(table, starts):
    problem = problem_of(table)
    state = part_of_a_pass(problem, starts)
    table[730, 1] = np.nextafter(table[730, 1], np.inf)
    with pytest.raises(DataChangedError, match="block 7 had checksum"):
        run_fit(problem, state, Serial())


# ---- commits by time -------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Commits:
    """In place of a run: notes states, takes time, fails on demand."""

    def __init__(self, clock, seconds=0.0):
        self.clock, self.seconds, self.states, self.full, self.kept = clock, seconds, [], False, False

    def commit(self, state, *, last=False):
        self.clock.now += self.seconds
        if self.full and not (last and self.kept):
            raise StorageError("no room")
        self.states.append(state)
        return type("Commit", (), {"number": len(self.states)})


def test_quick_passes_are_committed_as_often_as_that_costs_little(starts):
    clock = Clock()
    commits = Commits(clock, seconds=0.01)
    saver = Saver(commits, 60.0, clock=clock)
    for _ in range(1000):
        clock.now += 0.05
        saver(start_state(starts))
    assert len(commits.states) <= clock.now / (SHARE * 0.01) + 1
    assert len(commits.states) * 0.01 < 0.006 * clock.now
    assert len(commits.states) > 20


def test_a_part_of_a_pass_is_due_every_so_often_and_an_end_is_always_saved(starts):
    clock = Clock()
    saver = Saver(Commits(clock), 60.0, clock=clock)
    due = []
    for _ in range(600):
        clock.now += 1.0
        due.append(saver.due())
        if due[-1]:
            saver(start_state(starts))
    assert sum(due) == 10
    ended = Commits(clock, seconds=5.0)
    saver = Saver(ended, 60.0, clock=clock)
    saver(start_state(starts))
    saver(replace(start_state(starts), outcome=Outcome.INTERRUPTED))
    assert len(ended.states) == 2


def test_a_full_disk_is_told_and_tried_again_until_too_much_would_be_lost(starts):
    """Catalogue row K17, promise P17."""
    clock, seen = Clock(), []
    commits = Commits(clock)
    saver = Saver(commits, 10.0, seen.append, clock, max_unsaved=100.0)
    commits.full = True
    for _ in range(10):
        clock.now += 10.0
        saver(start_state(starts))
    assert [event.kind for event in seen] == ["warning"], "told once"
    commits.full = False
    clock.now += 10.0
    saver(start_state(starts))
    assert seen[-1].kind == "commit"
    commits.full = True
    clock.now += 111.0
    with pytest.raises(StorageError):
        saver(start_state(starts))


def test_a_fit_that_gives_up_on_a_full_disk_takes_the_room_that_is_kept(starts):
    clock, seen = Clock(), []
    commits = Commits(clock)
    commits.full = commits.kept = True
    saver = Saver(commits, 10.0, seen.append, clock, max_unsaved=100.0)
    clock.now += 50.0
    saver(start_state(starts))
    assert commits.states == []
    clock.now += 51.0
    with pytest.raises(StorageError):
        saver(start_state(starts))
    assert len(commits.states) == 1
    assert [event.kind for event in seen] == ["warning", "commit"]


def test_a_part_of_a_pass_that_is_saved_ahead_of_an_error_takes_the_room_that_is_kept(starts):
    clock = Clock()
    commits = Commits(clock)
    commits.full = commits.kept = True
    part = replace(start_state(starts), progress=Progress("stamp", ()))
    saver = Saver(commits, 10.0, clock=clock)
    clock.now += 10.0
    saver(part)
    assert commits.states == [], "it was due, the pass goes on"
    clock.now += 1.0
    saver(part)
    assert commits.states == [part]


def test_the_end_of_a_fit_that_cannot_be_saved_is_an_error(starts):
    commits = Commits(Clock())
    commits.full = True
    with pytest.raises(StorageError):
        Saver(commits, 10.0)(replace(start_state(starts), outcome=Outcome.CONVERGED))


def test_a_run_goes_on_in_the_middle_of_a_pass(table, starts, tmp_path):
    whole = fit_rows(rows_source(table, block_rows=100), starts, tol=0.0, max_iter=3)
    problem, events = problem_of(table), []
    with Run(tmp_path / "run") as run:
        saver = Saver(run, 0.0, events.append)
        caller = Caller(stop_requested=lambda: len(events) >= 18, snapshot_due=saver.due)
        stopped = run_fit(problem, start_state(starts), Threads(2), caller, saver)
    assert stopped.outcome is Outcome.INTERRUPTED
    assert any("a part of pass" in event.message for event in events if isinstance(event, Event))
    with Run(tmp_path / "run") as run:
        state = run.latest().state
        assert state.progress is not None
        result = run_fit(problem, state.reopened(), Serial(), None, run.commit)
    assert same_bits(result.mixture, whole.mixture)


# ---- blocks that cannot be read --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Torn(CountedRows):
    """Rows of which one block cannot be read from some read on."""

    bad: int = 4
    after: int = 0

    def load(self, index):
        rows = super().load(index)
        if index == self.bad and len(self.reads) > self.after:
            raise ChunkCorruptError(f"chunk {index} is damaged")
        return rows


def torn_job(table, *, after=0, on_damage="skip", max_iter=3, seen=None):
    source = Torn(feature_names=("a", "b"), units=("", ""), block_rows=100, x=table, after=after)
    configuration = FitConfiguration(n_components=2, schedule="full_batch", tol=0.0, max_iter=max_iter, block_rows=100, on_damage=on_damage)
    start = wide_start("gaussian_full", 2, table, np.random.default_rng(1))
    return Job(source, configuration, Serial(), start=start, observe=ignore if seen is None else seen.append)


def test_a_damaged_block_is_left_out_said_and_recorded(table):
    seen = []
    job = torn_job(table, seen=seen)
    result = job.fit()
    without = np.concatenate([table[:400], table[500:]])
    expected, _ = em_steps(job.start, without, 3)
    np.testing.assert_allclose(result.mixture.components.means, expected.components.means, rtol=1e-10)
    assert [event.details["block"] for event in seen if event.kind == "skipped" and "block" in event.details] == [4]
    assert (result.state.rows, result.state.skipped) == (len(table) - 100, 100)
    assert saved_model(result, job.source, job.configuration).provenance["lost_blocks"][0]["block"] == 4


def test_damage_in_mid_run_is_an_error_by_default_and_skipping_may_be_chosen_at_a_resume(table, tmp_path):
    with pytest.raises(ChunkCorruptError):
        torn_job(table, after=N_BLOCKS + 6, on_damage="raise").fit_in(Run(tmp_path / "run"))
    with Run(tmp_path / "run") as run:
        saved = run.latest().state
    assert saved.passes >= 1
    assert next(span.first for span, _ in saved.progress.done) == 0  # what was done of the pass before the error is kept
    result = torn_job(table).fit_in(Run(tmp_path / "run"))
    assert result.state.passes == 3
    assert [one.block for one in result.state.lost] == [4]


def test_what_was_left_out_stands_in_a_record(table):
    job = torn_job(table, max_iter=2)
    states = list(
        fit_states(
            FitProblem(job.guarded, FullBatch(), stopping=Stopping(0.0, 2)), job.first_state(), Serial(), Caller(snapshot_due=lambda: True)
        )
    )
    for state in states:
        again = through_a_record(state)
        assert again.lost == state.lost
        assert (again.progress and [p.lost for _, p in again.progress.done]) == (
            state.progress and [p.lost for _, p in state.progress.done]
        )
    assert states[-1].lost[0].block == 4


@pytest.mark.parametrize("bad", [0, 4, N_BLOCKS - 1])
def test_any_block_may_be_left_out_also_in_a_run_and_at_a_resume(bad, table, tmp_path):
    """The fingerprint reads the first and the last block: what cannot be read there is no change of the rows."""
    job = torn_job(table, max_iter=2)
    job = replace(job, source=replace(job.source, bad=bad))
    assert [one.block for one in job.fit_in(Run(tmp_path / "run")).state.lost] == [bad]
    whole = replace(torn_job(table, max_iter=3), source=replace(job.source, after=10**6))
    assert whole.fit_in(Run(tmp_path / "run")).state.passes == 3


@pytest.mark.filterwarnings("ignore:overflow")
def test_sums_that_no_reader_takes_are_not_saved(table, starts):
    """Promise P36: a pass that is going to fail leaves the good commits of the passes before."""
    problem = problem_of(table)
    state = part_of_a_pass(problem, starts)
    with pytest.raises(NumericalError, match="not finite"):
        pack(replace(state, column_means=(np.inf, 0.0)), Link(1, "", 0, ""))
    table[430:1070] = 9e152
    saved = []
    caller = Caller(snapshot_due=lambda: True)
    with pytest.raises(NumericalError):
        run_fit(problem_of(table), start_state(starts), Serial(), caller, saved.append)
    for one in saved:
        pack(one, Link(1, "", 0, ""))


@dataclass(frozen=True, eq=False, kw_only=True)
class Tried(CountedRows):
    """Rows whose reads fail for good at some block; one try before failed as well."""

    tried: list = field(default_factory=list)

    @property
    def retries(self):
        return self.tried

    def load(self, index):
        if index == 6:
            self.tried.append((6, 1, "busy"))
            raise StorageError("the store is gone")
        return super().load(index)


def test_a_read_that_was_tried_again_is_told_although_the_next_one_fails_too(table, starts):
    seen = []
    source = Tried(feature_names=("a", "b"), units=("", ""), block_rows=100, x=table)
    source.tried.append((1, 1, "busy"))
    with pytest.raises(StorageError):
        run_fit(replace(problem_of(table), source=source), start_state(starts), Serial(), Caller(observe=seen.append))
    assert [event.message for event in seen if event.kind == "retry"] == ["block 6: try 1 failed, busy"]


def test_what_remains_of_a_large_table_is_found_at_once():
    """A quadratic way took minutes for a survey's blocks; the suite's deadline would catch it."""
    n_blocks = 200_000
    done = [Span(number, 0) for number in range(0, n_blocks, 3)]
    left = list(remaining(n_blocks, 6, done))
    assert sum(span.last(n_blocks) - span.first for span in left) == n_blocks - len(done)


def test_thousands_of_lost_blocks_take_little_room(starts):
    lost = tuple(LostBlock(number, 65_536, f"chunk {number // 100} is gone, " + "x" * 100) for number in range(27_000))
    _, record = replace(start_state(starts), lost=lost).to_record()
    assert len(json.dumps(record)) < 2**20
    assert FitState.from_record(*replace(start_state(starts), lost=lost).to_record()).lost == lost


def test_a_step_that_takes_seconds_is_not_waited_for(table, tmp_path, monkeypatch):
    """P27: told to stop while Newton's step is made, the pass is kept as it was read; no block of it is read again."""
    monkeypatch.setattr(import_module("streamgmm.fit"), "MANY_PARAMETERS", 1)
    configuration = FitConfiguration(n_components=2, block_rows=100, max_iter=4, tol=0.0)
    undisturbed = Job(rows_source(table, block_rows=100), configuration, Serial()).fit_in(Run(tmp_path / "undisturbed"))
    begun, go_on, update = threading.Event(), threading.Event(), Auto.update

    def slow(self, look):
        begun.set()
        assert go_on.wait(200)
        return update(self, look)

    told = []
    with monkeypatch.context() as patch:
        patch.setattr(Auto, "update", slow)
        job = Job(rows_source(table, block_rows=100), configuration, Serial(), observe=told.append, stop_requested=begun.is_set)
        stopped = job.fit_in(Run(tmp_path / "run"))
    go_on.set()
    assert stopped.outcome is Outcome.INTERRUPTED
    assert (stopped.state.passes, stopped.state.rows_begun) == (0, len(table))
    assert not any(event.kind == "pass" for event in told)
    source = rows_source(table, block_rows=100)
    again = Job(source, configuration, Serial()).fit_in(Run(tmp_path / "run"))
    assert same_bits(again.mixture, undisturbed.mixture)
    assert source.reads.count(5) == again.state.passes - 1  # the first and the last block are looked at by every start
