"""The loop: outcomes, scikit-learn's stopping rule, stops in the middle, several contenders, going on with the same bits."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import sklearn.exceptions
import sklearn.mixture

from streamgmm.errors import DataError, NumericalError, SingularComponentError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.fit import fit_states, run_fit, sample_for_starts, start_state, starts_from_sample
from streamgmm.passes import Caller, FitProblem
from streamgmm.registry import implementation
from streamgmm.regularisation import Regularisation
from streamgmm.schedules.full_batch import FullBatch
from streamgmm.state import FitState, Outcome
from streamgmm.stopping import Stopping
from tests.making import (
    PLAIN,
    SKLEARN_TYPES,
    OnceRows,
    clustered_rows,
    em_steps,
    family_of,
    fit_rows,
    random_mixture,
    rows_source,
    same_bits,
    wide_start,
)

pytestmark = pytest.mark.usefixtures("one_algebra_thread")


@pytest.fixture
def table(rng):
    return clustered_rows(3500, 3, 2, rng)


@pytest.fixture
def starts(table, rng):
    return [wide_start("gaussian_full", 3, table, rng) for _ in range(4)]


def _problem(source, **stopping):
    return FitProblem(source, FullBatch(), PLAIN, Stopping(**stopping))


# ---- outcomes --------------------------------------------------------------------------------------------------------


def test_the_loop_makes_the_steps_of_em(table, starts):
    result = fit_rows(rows_source(table, block_rows=65536), starts[:1], tol=0.0, max_iter=7)
    expected, history = em_steps(starts[0], table, 7)
    assert same_bits(result.mixture, expected)
    assert result.log_likelihoods == tuple(history)
    assert result.outcome is Outcome.PASSES_EXHAUSTED
    assert not result.converged
    assert (result.state.passes, result.state.rows, result.state.skipped, result.state.weight) == (7, 3500, 0, 3500.0)


@pytest.mark.parametrize("tol", [0.1, 1e-2, 1e-3, 1e-4, 1e-6])
@pytest.mark.parametrize(("family", "kind"), SKLEARN_TYPES.items())
def test_the_stopping_rule_and_the_number_of_passes_are_scikit_learns(family, kind, tol, table, rng):
    table = table[:1500]
    start = wide_start(family, 3, table, rng)
    model = sklearn.mixture.GaussianMixture(
        3,
        covariance_type=kind,
        tol=tol,
        max_iter=60,
        weights_init=start.weights.proportions,
        means_init=start.components.means,
        precisions_init=start.components.precisions(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        model.fit(table)
    result = fit_rows(rows_source(table), [start], tol=tol, max_iter=60, regularisation=Regularisation())
    assert result.state.passes == model.n_iter_
    assert len(result.log_likelihoods) == model.n_iter_
    assert result.converged == model.converged_
    assert result.outcome is (Outcome.CONVERGED if model.converged_ else Outcome.PASSES_EXHAUSTED)
    np.testing.assert_allclose(result.log_likelihoods[-1], model.lower_bound_, rtol=1e-10)
    np.testing.assert_allclose(result.log_likelihoods, model.lower_bounds_, rtol=1e-10)
    np.testing.assert_allclose(result.mixture.components.means, model.means_, rtol=1e-8, atol=1e-8)


def test_one_pass_is_a_fit(table, starts):
    result = fit_rows(rows_source(table), starts[:1], max_iter=1)
    assert result.outcome is Outcome.PASSES_EXHAUSTED
    assert len(result.log_likelihoods) == 1


def test_a_tolerance_of_zero_never_converges(table, starts):
    result = fit_rows(rows_source(table[:200]), starts[:1], tol=0.0, max_iter=400)
    assert result.outcome is Outcome.PASSES_EXHAUSTED


def test_the_deadline_ends_the_fit_after_the_pass_that_it_falls_in(table, starts):
    source = rows_source(table)
    states = list(fit_states(_problem(source, tol=0.0, deadline=1e-9), start_state(starts[:1]), Serial()))
    assert [state.outcome for state in states] == [Outcome.DEADLINE]
    assert states[0].passes == 1
    assert len(source.reads) == 4


def test_a_finished_fit_makes_no_more_passes(table, starts):
    source = rows_source(table)
    done = fit_rows(source, starts[:1], tol=1.0)
    reads = len(source.reads)
    again = run_fit(_problem(source), done.state, Serial())
    assert len(source.reads) == reads
    assert again.mixture is done.mixture
    assert again.outcome is Outcome.CONVERGED


def test_weights_and_rows_left_out_are_counted(table, starts):
    x = table.copy()
    x[::7, 1] = np.nan
    weight = np.arange(len(x)) % 3 / 2
    result = fit_rows(rows_source(x, sample_weight=weight, missing="skip"), starts[:1], max_iter=3)
    kept = np.isfinite(x).all(axis=1)
    assert (result.state.rows, result.state.skipped) == (kept.sum(), (~kept).sum())
    assert result.state.weight == weight[kept].sum()
    expected, _ = em_steps(starts[0], x[kept], 3, weight[kept])
    for name, value in expected.to_arrays().items():
        np.testing.assert_allclose(result.mixture.to_arrays()[name], value, rtol=1e-10)


# ---- several contenders ----------------------------------------------------------------------------------------------


def test_contenders_advance_in_the_same_reads(table, starts):
    source = rows_source(table)
    result = fit_rows(source, starts, tol=0.0, max_iter=6)
    assert source.reads == [0, 1, 2, 3] * 6
    alone = [fit_rows(rows_source(table), [start], tol=0.0, max_iter=6) for start in starts]
    for contender, single in zip(result.state.contenders, alone, strict=True):
        assert same_bits(contender.mixture, single.mixture)
        assert contender.log_likelihoods == single.log_likelihoods
    best = max(alone, key=lambda single: single.log_likelihoods[-1])
    assert same_bits(result.mixture, best.mixture)


def test_a_contender_that_has_converged_rests_while_the_others_go_on(table, starts):
    """Each stops where it would have stopped alone, and the reads are those of the slowest."""
    source = rows_source(table)
    result = fit_rows(source, starts, tol=1e-3)
    alone = [fit_rows(rows_source(table), [start], tol=1e-3) for start in starts]
    passes = [single.state.passes for single in alone]
    assert len(set(passes)) > 1, "the test needs starts that converge at different passes"
    assert len(source.reads) == 4 * max(passes)
    for contender, single in zip(result.state.contenders, alone, strict=True):
        assert same_bits(contender.mixture, single.mixture)
        assert len(contender.log_likelihoods) == single.state.passes
    assert result.outcome is Outcome.CONVERGED


def test_contenders_may_have_different_numbers_of_components(table, rng):
    mixed = [wide_start("gaussian_full", k, table, rng) for k in (1, 2, 5)]
    result = fit_rows(rows_source(table), mixed, max_iter=5)
    assert [contender.mixture.n_components for contender in result.state.contenders] == [1, 2, 5]


def test_starts_are_made_from_generators_of_their_own(table):
    sample, initialiser = sample_for_starts(rows_source(table), 0), implementation("initialisers", "random_rows")()
    made = [starts_from_sample(initialiser, family_of("gaussian_diag"), sample, 3, n, np.random.default_rng(5)) for n in (2, 4)]
    assert all(same_bits(a, b) for a, b in zip(made[0], made[1], strict=False))
    assert not same_bits(made[1][0], made[1][1])


def test_more_components_than_rows_are_refused(table):
    sample = sample_for_starts(rows_source(table[:2]), 0)
    with pytest.raises(DataError, match="n_components=3 is larger than the number of rows"):
        starts_from_sample(implementation("initialisers", "kmeans")(), family_of("gaussian_full"), sample, 3, 1, np.random.default_rng(0))


# ---- stops and going on ----------------------------------------------------------------------------------------------


class StopAfter:
    """Asks for a stop from its n-th call on."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("executor", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_a_stop_in_the_middle_of_a_pass_gives_the_state_before_it(executor, table, starts):
    problem = _problem(rows_source(table), tol=0.0)
    states = list(fit_states(problem, start_state(starts), executor, Caller(stop_requested=StopAfter(12))))
    assert [state.passes for state in states] == [1, 2, 2]  # 4 blocks and a look after the pass: 5 calls a pass
    assert states[-1].outcome is Outcome.INTERRUPTED
    assert states[1].outcome is None
    assert all(same_bits(a.mixture, b.mixture) for a, b in zip(states[1].contenders, states[2].contenders, strict=True))


def test_a_stop_between_passes_keeps_the_pass(table, starts):
    states = list(fit_states(_problem(rows_source(table), tol=0.0), start_state(starts[:1]), Serial(), Caller(stop_requested=StopAfter(9))))
    assert [state.passes for state in states] == [1, 2]
    assert states[-1].outcome is Outcome.INTERRUPTED


def test_a_stop_does_not_take_back_convergence(table, starts):
    source = rows_source(table)
    whole = fit_rows(rows_source(table), starts[:1], tol=1e-2)
    stop = StopAfter(5 * whole.state.passes - 1)
    states = list(fit_states(_problem(source, tol=1e-2), start_state(starts[:1]), Serial(), Caller(stop_requested=stop)))
    assert states[-1].outcome is Outcome.CONVERGED


def _through_a_record(state):
    arrays, record = state.to_record()
    return FitState.from_record({name: value.copy() for name, value in arrays.items()}, json.loads(json.dumps(record)))


@pytest.mark.parametrize("calls", [0, 3, 5, 12, 24, 33])
def test_going_on_from_a_record_gives_the_bits_of_an_unbroken_fit(calls, table, starts):
    whole = fit_rows(rows_source(table), starts, tol=1e-4, max_iter=15)
    problem = _problem(rows_source(table), tol=1e-4, max_iter=15)
    broken = run_fit(problem, start_state(starts), Serial(), Caller(stop_requested=StopAfter(calls)))
    assert broken.outcome is Outcome.INTERRUPTED
    result = run_fit(problem, _through_a_record(broken.state).reopened(), Threads(2))
    assert result.outcome is whole.outcome
    assert same_bits(result.mixture, whole.mixture)
    for a, b in zip(result.state.contenders, whole.state.contenders, strict=True):
        assert same_bits(a.mixture, b.mixture)
        assert (a.log_likelihoods, a.converged) == (b.log_likelihoods, b.converged)


def test_going_on_after_every_single_pass_gives_the_same_bits(table, starts):
    whole = fit_rows(rows_source(table), starts[:2], tol=1e-4, max_iter=12)
    problem = _problem(rows_source(table), tol=1e-4, max_iter=12)
    state = start_state(starts[:2])
    while state.outcome is None:
        state = _through_a_record(next(fit_states(problem, state, Serial())))
    assert state.outcome is whole.outcome
    assert same_bits(state.best.mixture, whole.mixture)


def test_more_passes_may_be_asked_for_later(table, starts):
    source = rows_source(table)
    some = fit_rows(source, starts[:1], tol=0.0, max_iter=4)
    more = run_fit(_problem(source, tol=0.0, max_iter=9), some.state.reopened(), Serial())
    assert same_bits(more.mixture, fit_rows(rows_source(table), starts[:1], tol=0.0, max_iter=9).mixture)
    assert more.state.passes == 9


@pytest.mark.parametrize("executor", [Threads(1), Threads(2), Threads(5)], ids=["1", "2", "5"])
def test_the_executor_changes_no_bit(executor, table, starts):
    serial = fit_rows(rows_source(table, block_rows=300), starts[:2], max_iter=5)
    other = fit_rows(rows_source(table, block_rows=300), starts[:2], max_iter=5, executor=executor)
    assert same_bits(other.mixture, serial.mixture)
    assert other.log_likelihoods == serial.log_likelihoods


# ---- events ----------------------------------------------------------------------------------------------------------


def test_events_tell_the_story_in_json(table, starts):
    events, states = [], []
    fit_rows(rows_source(table), starts[:2], tol=0.0, max_iter=3, observe=events.append, on_state=states.append)
    assert [state.passes for state in states] == [1, 2, 3]
    assert [event.kind for event in events] == [*["reading"] * 4, "pass"] * 3 + ["finish"]
    assert [event.details["rows"] for event in events[:4]] == [1000, 2000, 3000, 3500]
    assert events[4].details["change"] is None
    assert events[9].details["change"] > 0
    assert events[-1].details["outcome"] == "passes_exhausted"
    for event in events:
        json.dumps(dict(event.details), allow_nan=False)
        assert event.message


def test_rows_left_out_are_told_once(table, starts):
    x = table.copy()
    x[:11, 0] = np.nan
    events = []
    fit_rows(rows_source(x, missing="skip"), starts[:1], tol=0.0, max_iter=3, observe=events.append)
    skipped = [event for event in events if event.kind == "skipped"]
    assert [event.details for event in skipped] == [{"rows": 11}]


def _with_a_lone_row(rng):
    x = np.vstack([rng.normal(size=(400, 2)), [[90.0, 90.0]]])
    means = np.array([[-1.0, 0.0], [1.0, 0.0], [90.0, 90.0]])
    start = random_mixture("gaussian_full", 3, 2, rng)
    return x, replace(start, components=family_of("gaussian_full").from_dense(means, np.stack([np.eye(2)] * 3), np.full(3, 1 / 3)))


@pytest.mark.parametrize("policy", ["floor", "reseed", "drop"])
def test_a_repair_is_an_event_with_component_pass_and_value(policy, rng):
    x, start = _with_a_lone_row(rng)
    events = []
    result = fit_rows(
        rows_source(x), [start], tol=0.0, max_iter=3, regularisation=Regularisation(0.0, None, 0.0, policy), observe=events.append
    )
    first = next(event for event in events if event.kind == policy)
    assert first.details["pass"] == 1
    assert first.details["start"] == 0
    assert first.details["component"] == 2
    assert first.details["kind"] == "variance"
    assert 0 <= abs(first.details["value"]) < 1e-12
    assert first.details["floor"] == 0
    assert "component 2 has relative variance" in first.message
    assert all(np.isfinite(value).all() for value in result.mixture.to_arrays().values())
    assert result.mixture.n_components == (2 if policy == "drop" else 3)
    told = [event for event in events if event.kind == policy]
    assert len(told) == (3 if policy == "floor" else 1)


def test_a_repair_that_raises_ends_the_fit(rng):
    x, start = _with_a_lone_row(rng)
    with pytest.raises(SingularComponentError, match="component 2"):
        fit_rows(rows_source(x), [start], regularisation=Regularisation(0.0, None, 0.0, "raise"))


def test_a_reseeded_component_is_given_time_before_the_fit_converges(rng):
    """The second pass changes the likelihood by less than tol, but seeds a component anew: the third has to look at it."""
    x, start = _with_a_lone_row(rng)
    state = start_state([start])
    state = replace(state, contenders=(replace(state.contenders[0], log_likelihoods=(-5.0,)),), passes=1)
    problem = FitProblem(rows_source(x), FullBatch(), Regularisation(0.0, None, 0.0, "reseed"), Stopping(tol=1e9))
    result = run_fit(problem, state, Serial())
    assert result.state.best.repairs == 1
    assert result.state.passes == 3
    assert result.converged


def test_reseeding_without_end_becomes_flooring(rng):
    """Nine rows on three points: no third cluster of any width is there to be found."""
    x = np.repeat(np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), 3, axis=0)
    start = wide_start("gaussian_full", 3, x, rng)
    events = []
    result = fit_rows(
        rows_source(x), [start], tol=1e-6, max_iter=80, regularisation=Regularisation(0.0, None, 0.0, "reseed"), observe=events.append
    )
    assert result.state.best.repairs <= 3 * 3 + 2
    assert all(np.isfinite(value).all() for value in result.mixture.to_arrays().values())


def test_a_likelihood_that_falls_is_an_event(table, rng):
    """A large ridge gives covariances that are not the most likely ones."""
    start = wide_start("gaussian_full", 3, table, rng)
    settled = fit_rows(rows_source(table), [start], tol=1e-9, max_iter=200)
    events = []
    fit_rows(
        rows_source(table), [settled.mixture], tol=0.0, max_iter=3, regularisation=Regularisation(reg_covar=5.0), observe=events.append
    )
    falls = [event for event in events if event.kind == "fall"]
    assert falls[0].details["pass"] == 2
    assert falls[0].details["fall"] > 0


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_an_iterator_is_refused_by_a_schedule_that_looks_again(table, starts):
    source = rows_source(table, repeatable=False)
    with pytest.raises(DataError, match="'full_batch' reads the table several times"):
        fit_rows(source, starts[:1])
    assert source.reads == []
    assert fit_rows(source, starts[:1], max_iter=1).state.passes == 1


def test_one_pass_over_rows_of_unknown_number(table, starts):
    x = table[:, :2]
    once = OnceRows(feature_names=("a", "b"), units=("", ""), block_rows=1000, x=x, repeatable_rows=False)
    for executor in (Serial(), Threads(2)):
        result = fit_rows(once, starts[:1], max_iter=1, executor=executor)
        assert same_bits(result.mixture, fit_rows(rows_source(x), starts[:1], max_iter=1).mixture)


def test_a_table_without_rows_is_refused(starts):
    once = OnceRows(feature_names=("a", "b"), units=("", ""), x=np.empty((0, 2)))
    with pytest.raises(DataError, match="the table has no rows"):
        fit_rows(once, starts[:1])


def test_rows_that_all_have_weight_zero_are_refused(table, starts):
    with pytest.raises(DataError, match="no row takes part"):
        fit_rows(rows_source(table, sample_weight=np.zeros(len(table))), starts[:1])


def test_a_row_of_density_zero_is_refused_in_plain_words(starts):
    x = np.full((10, 2), 1e153)
    components = family_of("gaussian_full").from_dense(np.zeros((3, 2)), np.stack([1e-6 * np.eye(2)] * 3), np.full(3, 1 / 3))
    narrow = replace(starts[0], components=components)
    with pytest.raises(NumericalError, match=r"start 0, pass 1: .*a row has density zero under every component"):
        fit_rows(rows_source(x), [narrow])
