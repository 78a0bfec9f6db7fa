"""The recipe for few reads: coordinates, Newton's step against finite differences, accelerated passes, exploration, and all together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm import exploration
from streamgmm.block import Block
from streamgmm.checkpoint import Run
from streamgmm.configuration import EXPLORING, FitConfiguration
from streamgmm.coordinates import from_vector, scale_of, to_vector
from streamgmm.em import MixtureStatistics, e_step, m_step
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.job import Job, reopened
from streamgmm.merging import least_costly_pairs, merged
from streamgmm.mixture import Mixture
from streamgmm.registry import implementation
from streamgmm.regularisation import Regularisation
from streamgmm.remaining_error import newton_step
from streamgmm.schedules.anderson import Anderson
from streamgmm.schedules.auto import Auto, _by_gains
from streamgmm.schedules.base import Look
from streamgmm.sources import as_source
from streamgmm.state import Contender, FitState, Outcome, Tally
from streamgmm.weights.fixed import FixedWeights
from streamgmm.weights.free import FreeWeights

FAMILIES = ("full", "tied", "diag", "spherical", "tied_spherical")
families = pytest.mark.parametrize("family", FAMILIES)
MOST_PASSES = {"full": 7, "tied": 12, "diag": 8, "spherical": 7, "tied_spherical": 12}  # half of Newton's step takes more, but where tied
both = pytest.mark.parametrize("schedule", EXPLORING)
NO_FLOORS = Regularisation(0.0)


def mixture_of(family, k=3, d=2, seed=0, law=FreeWeights):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(k, d, d))
    shares = rng.dirichlet(np.full(k, 5.0))
    covariances = a @ a.transpose(0, 2, 1) + np.eye(d)
    kind = implementation("components", f"gaussian_{family}")
    return Mixture(kind.from_dense(rng.normal(0, 3, (k, d)), covariances, shares), law(shares))


def rows_of(mixture, n, seed=1):
    return np.ascontiguousarray(np.random.default_rng(seed).permutation(mixture.sample(n, np.random.default_rng(seed))[0]))


def block_of(x, weight=1.0):
    return Block(0, 0, x, np.full(len(x), weight))


def statistics_of(mixture, block):
    return e_step([mixture], block, block_rows=1 << 20)[0]


def em(mixture, block, n):
    for _ in range(n):
        mixture, _ = m_step(statistics_of(mixture, block), mixture, NO_FLOORS)
    return mixture


# ---- coordinates -------------------------------------------------------------------------------------------------------


@families
@given(seed=st.integers(0, 2**31), k=st.integers(1, 5), d=st.integers(1, 5))
def test_a_vector_is_a_mixture_and_back(family, seed, k, d):
    mixture = mixture_of(family, k, d, seed)
    vector = to_vector(mixture)
    assert vector.shape == scale_of(mixture).shape == (mixture.n_parameters,)
    back = from_vector(vector, mixture)
    for name, values in mixture.to_arrays().items():
        np.testing.assert_allclose(back.to_arrays()[name], values, rtol=1e-9, atol=1e-9)


@families
def test_lengths_do_not_depend_on_units(family):
    """A step measured in `scale_of` is the same whatever a column's unit and offset are."""
    a, b = mixture_of(family, 3, 2, 0), mixture_of(family, 3, 2, 1)
    by = 1e6 if family in ("spherical", "tied_spherical") else np.array([1e-4, 1e6])

    def moved(mixture):
        c = mixture.components
        dense = c.dense_covariances() * np.multiply.outer(np.ones(2) * by, np.ones(2) * by)
        return Mixture(type(c).from_dense(c.means * by + 5 * by, dense, mixture.weights.proportions), mixture.weights)

    here = (to_vector(b) - to_vector(a)) * scale_of(a)
    there = (to_vector(moved(b)) - to_vector(moved(a))) * scale_of(moved(a))
    np.testing.assert_allclose(there, here, rtol=1e-7, atol=1e-7)


# ---- Newton's step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [FreeWeights, FixedWeights])
@pytest.mark.parametrize("family", ["full", "diag", "spherical"])
def test_the_step_is_newtons(family, law):
    """On the very rows that it is taken from, near their optimum, the error after a step is of second order."""
    mixture = mixture_of(family, 2, 2, 3, law)
    block = block_of(rows_of(mixture, 4000))
    best = em(mixture, block, 400)
    top = statistics_of(best, block).log_likelihood
    gaps = []
    for away in (0.02, 0.01):
        start = from_vector(to_vector(best) + away * np.random.default_rng(0).normal(size=best.n_parameters) / 5, best)
        statistics = statistics_of(start, block)
        found = newton_step(start, statistics.components, 4000.0, block)
        gap = top - statistics.log_likelihood
        assert found.decrement / 2 == pytest.approx(gap, rel=0.05)
        gaps.append(top - statistics_of(found.mixture, block).log_likelihood)
        assert gaps[-1] < 0.01 * gap
    assert gaps[1] < 0.15 * gaps[0]  # the fourth power of the distance would give 1/16


@pytest.mark.parametrize("family", ["tied", "tied_spherical"])
def test_shared_covariances_take_outer_products(family):
    mixture = mixture_of(family, 2, 2, 3)
    block = block_of(rows_of(mixture, 20_000))
    best = em(mixture, block, 400)
    top = statistics_of(best, block).log_likelihood
    start = from_vector(to_vector(best) + 0.01 * np.random.default_rng(0).normal(size=best.n_parameters), best)
    statistics = statistics_of(start, block)
    found = newton_step(start, statistics.components, 20_000.0, block)
    gap = top - statistics.log_likelihood
    assert found.decrement / 2 == pytest.approx(gap, rel=0.3)
    assert top - statistics_of(found.mixture, block).log_likelihood < 0.1 * gap


def test_the_decrement_is_counted_in_rows_of_the_table():
    mixture = mixture_of("full", 2, 2, 3)
    x = rows_of(mixture, 3000)
    statistics = statistics_of(mixture, block_of(x))
    once = newton_step(mixture, statistics.components, 3000.0, block_of(x)).decrement
    ten = newton_step(mixture, statistics.components.scale(10.0), 30_000.0, block_of(x, 10.0)).decrement
    assert ten == pytest.approx(10 * once, rel=1e-9)


def test_a_saddle_is_no_end():
    """Two components in one place are a fixed point of EM: the score is zero, and the information is not positive definite."""
    x = np.random.default_rng(4).normal(0, 1, (4000, 1)) + np.where(np.arange(4000) % 2, 3.0, -3.0)[:, None]
    one = implementation("components", "gaussian_full")(np.full((2, 1), x.mean()), np.full((2, 1, 1), x.var()))
    saddle, block = Mixture(one, FreeWeights(np.array([0.5, 0.5]))), block_of(x)
    statistics = statistics_of(saddle, block)
    found = newton_step(saddle, statistics.components, 4000.0, block)
    assert found.is_guess
    assert found.decrement < 1e-9  # which alone would end the fit here
    look = Look(saddle, statistics, NO_FLOORS, tol=1e-3, sample=block)
    assert not Auto().update(look).converged


def test_a_guess_before_the_second_pass_is_not_kept():
    """It would be infinite, which no commit takes."""
    rng = np.random.default_rng(0)
    block = block_of(np.concatenate([rng.normal(0, 1, (1500, 2)), rng.normal((2, 1), 1, (1500, 2))]))
    means = np.array([[-3.0, 3.0], [0.0, 0.0], [5.0, 1.0]])
    start = Mixture(implementation("components", "gaussian_full")(means, np.tile(np.eye(2), (3, 1, 1))), FreeWeights(np.full(3, 1 / 3)))
    statistics = statistics_of(start, block)
    assert newton_step(start, statistics.components, 3000.0, block).is_guess
    step = Auto().update(Look(start, statistics, NO_FLOORS, tol=1e-3, sample=block))
    assert all(np.isfinite(value).all() for value in step.memory.values())
    assert not step.converged


def test_a_share_of_next_to_nothing_has_a_newton_step():
    mixture = mixture_of("full", 2, 2, 3)
    tiny = Mixture(mixture.components, FreeWeights(np.array([1e-17, 1.0])))
    block = block_of(rows_of(mixture, 500))
    assert np.isfinite(newton_step(tiny, statistics_of(tiny, block).components, 500.0, block).decrement)


# ---- accelerated passes ------------------------------------------------------------------------------------------------


def test_extrapolated_steps_reach_the_optimum_in_fewer_looks():
    mixture = mixture_of("full", 3, 2, 5)
    block = block_of(rows_of(mixture, 5000))
    top = statistics_of(em(mixture, block, 3000), block).log_likelihood
    schedule, look, looks = Anderson(), Look(mixture, statistics_of(mixture, block), NO_FLOORS), 1
    while top - look.statistics.log_likelihood > 0.01:
        step = schedule.update(look)
        look, looks = Look(step.mixture, statistics_of(step.mixture, block), NO_FLOORS, step.memory), looks + 1
        assert looks < 200
    plain, count = mixture, 1
    while top - statistics_of(plain, block).log_likelihood > 0.01:
        plain, count = em(plain, block, 1), count + 1
    assert looks < count / 2


def test_a_fall_leads_back_to_the_em_step_of_the_look_before():
    mixture = mixture_of("full", 2, 2, 3)
    block = block_of(rows_of(mixture, 2000))
    schedule = Anderson()
    step = schedule.update(Look(mixture, statistics_of(mixture, block), NO_FLOORS))
    bad = mixture_of("full", 2, 2, 77)
    back = schedule.update(Look(bad, statistics_of(bad, block), NO_FLOORS, step.memory))
    np.testing.assert_allclose(to_vector(back.mixture), to_vector(em(mixture, block, 1)), rtol=1e-12)
    assert back.converged is False
    assert not back.memory


# ---- merging -----------------------------------------------------------------------------------------------------------


@families
def test_merging_keeps_the_moments_of_the_pair(family):
    mixture = mixture_of(family, 4, 2, 1)
    together = merged(mixture, [(1, 3)])
    shares, means = mixture.weights.proportions, mixture.components.means
    assert together.n_components == 3
    np.testing.assert_allclose(together.weights.proportions, [shares[0], shares[1] + shares[3], shares[2]])
    np.testing.assert_allclose(together.components.means[1], np.average(means[[1, 3]], axis=0, weights=shares[[1, 3]]))


def test_twins_are_the_cheapest_pair():
    one = mixture_of("full", 3, 2, 1)
    c = one.components
    index = [0, 1, 2, 1]
    shares = np.full(4, 0.25)
    twins = Mixture(type(c)(c.means[index], c.covariances[index]), FreeWeights(shares))
    assert least_costly_pairs(twins, 1) == [(1, 3)]


# ---- all together ------------------------------------------------------------------------------------------------------

K, N = 4, 6000


@pytest.fixture(scope="module")
def table():
    return rows_of(mixture_of("full", K, 3, 8), N, 2)


def job_of(table, executor=None, **parameters):
    given = {"n_components": K, "block_rows": 512, "schedule": "auto", "seed": 1, **parameters}
    return Job(as_source(table, block_rows=512), FitConfiguration.checked(given), executor or Serial())


def bits(result):
    return {name: values.tobytes() for name, values in result.mixture.to_arrays().items()}


@pytest.fixture
def part_of_the_table(monkeypatch):
    """The sample is a quarter of the rows, so that passes have something to do."""
    monkeypatch.setattr("streamgmm.exploration.EXPLORED_ROWS", N // 4)
    monkeypatch.setattr("streamgmm.exploration.EXPLORED_ROWS_A_PARAMETER", 1)
    monkeypatch.setattr("streamgmm.schedules._anchored_step.ROWS_A_PARAMETER", 1)
    monkeypatch.setattr("streamgmm.schedules._anchored_step.ROWS_A_MOMENT", 1)


@pytest.mark.usefixtures("part_of_the_table")
@pytest.mark.parametrize(("family", "schedule"), [*((family, "auto") for family in FAMILIES), ("full", "anchored"), ("diag", "anchored")])
def test_it_ends_at_an_optimum_that_plain_em_does_not_improve(table, family, schedule):
    result = job_of(table, covariance_type=family, schedule=schedule, tol=1e-6, max_iter=300).fit()
    assert result.outcome is Outcome.CONVERGED
    whole = block_of(table)
    own = statistics_of(result.mixture, whole).log_likelihood
    assert own / N == pytest.approx(result.state.best.log_likelihood, rel=1e-12)
    assert statistics_of(em(result.mixture, whole, 300), whole).log_likelihood - own < 1e-3
    assert result.state.passes <= MOST_PASSES[family] * (1 if schedule == "auto" else 2)  # no sample here is large enough for the other


@pytest.mark.usefixtures("part_of_the_table")
@both
def test_the_same_bits_on_any_number_of_threads(table, schedule):
    found = [job_of(table, executor, schedule=schedule).fit() for executor in (Serial(), Threads(1), Threads(2), Threads(4))]
    assert len({tuple(bits(result).items()) for result in found}) == 1


@pytest.mark.usefixtures("part_of_the_table")
@both
def test_interrupted_after_every_pass_it_ends_with_the_same_bits(table, tmp_path, schedule):
    whole = job_of(table, schedule=schedule, tol=1e-9).fit()
    assert whole.state.passes > 2
    for passes in range(1, whole.state.passes + 1):
        result = job_of(table, schedule=schedule, tol=1e-9, max_iter=passes).fit_in(Run(tmp_path / "run"))
        assert result.state.passes == passes
    assert bits(result) == bits(whole)


@pytest.mark.usefixtures("part_of_the_table")
def test_what_a_state_keeps_survives_its_record(table):
    state = job_of(table, max_iter=2, tol=1e-12).fit().state
    assert state.best.memory
    again = FitState.from_record(*state.to_record())
    assert {k: v.tobytes() for k, v in again.best.memory.items()} == {k: np.asarray(v).tobytes() for k, v in state.best.memory.items()}


@pytest.mark.usefixtures("part_of_the_table")
def test_a_capped_fit_ends_with_a_mixture_no_worse_than_its_last_look(table):
    result = job_of(table, max_iter=1, tol=1e-12).fit()
    assert result.outcome is Outcome.PASSES_EXHAUSTED
    assert statistics_of(result.mixture, block_of(table)).mean_log_likelihood >= result.state.best.log_likelihood


@pytest.mark.usefixtures("part_of_the_table")
@both
def test_moved_and_scaled_rows_give_the_moved_and_scaled_mixture(table, schedule):
    here = job_of(table, schedule=schedule, tol=1e-6).fit().mixture.components
    there = job_of(np.ascontiguousarray(table * [1e-3, 1e4, 2.0] + [5.0, -1e6, 0.0]), schedule=schedule, tol=1e-6).fit().mixture.components
    order = [
        int(np.argmin(((there.means - m * [1e-3, 1e4, 2.0] - [5.0, -1e6, 0.0]) ** 2 / [1e-6, 1e8, 4]).sum(axis=1))) for m in here.means
    ]
    assert sorted(order) == list(range(K))
    np.testing.assert_allclose((there.means[order] - [5.0, -1e6, 0.0]) / [1e-3, 1e4, 2.0], here.means, atol=1e-2)


@pytest.mark.usefixtures("part_of_the_table")
@pytest.mark.parametrize("order", ["sorted", "clustered", "duplicated"])
def test_the_order_of_rows_changes_next_to_nothing(table, order):
    """The ordered chunks that make others fail: the same optimum, within what is asked of a fit."""
    if order == "sorted":
        rows = table[np.argsort(table[:, 0], kind="stable")]
    elif order == "clustered":
        rows = table[np.argsort(mixture_of("full", K, 3, 8).predict(table), kind="stable")]
    else:
        rows = np.repeat(table, 2, axis=0)
    expected = job_of(table, tol=1e-6).fit().state.best.log_likelihood
    found = job_of(np.ascontiguousarray(rows), tol=1e-6).fit().state.best.log_likelihood
    assert found == pytest.approx(expected, abs=2e-4)


def test_hard_assignments_take_plain_passes(table):
    found = [job_of(table, schedule=schedule, assignment="hard", max_iter=5).fit() for schedule in ("auto", "anderson", "full_batch")]
    assert len({tuple(bits(result).items()) for result in found}) == 1
    assert len({result.log_likelihoods for result in found}) == 1


def test_a_single_component_is_known_at_once(table):
    result = job_of(table, n_components=1).fit()
    np.testing.assert_allclose(result.mixture.components.means[0], table.mean(axis=0))
    assert result.outcome is Outcome.CONVERGED


# ---- ends ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["auto", "anchored", "anderson"])
def test_a_component_at_its_floor_does_not_keep_a_fit_from_its_end(schedule):
    """Identical rows (censored values, zeros): every pass lifts their component, and EM comes to rest all the same."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, (1200, 2)), np.full((300, 2), 5.0), rng.normal(10, 1, (1000, 2))])
    source = as_source(x[rng.permutation(len(x))], block_rows=500)
    given = {"n_components": 3, "schedule": schedule, "block_rows": 500, "variance_floor": 1e-6, "seed": 0}
    result = Job(source, FitConfiguration.checked(given), Serial()).fit()
    assert result.outcome is Outcome.CONVERGED


def test_without_newton_a_smaller_tol_goes_on(table, tmp_path, monkeypatch):
    """The first look of a resume is at the mixture of the last one: that nothing was gained says nothing."""
    monkeypatch.setattr("streamgmm.schedules.auto.MOST_PARAMETERS", 0)
    monkeypatch.setattr(exploration, "EXPLORED_ROWS", 600)  # else it ends at the optimum of the table itself
    monkeypatch.setattr(exploration, "EXPLORED_ROWS_A_PARAMETER", 1)
    first = job_of(table, tol=1.0).fit_in(Run(tmp_path))
    assert first.converged
    passes = first.state.passes
    second = job_of(table, tol=1e-9, max_iter=passes + 40).fit_in(Run(tmp_path))
    assert second.state.passes > passes + 2
    assert second.state.best.log_likelihood > first.state.best.log_likelihood


def test_gains_that_do_not_fall_steadily_end_nothing():
    """Those of extrapolated steps, and those that make up for a fall."""
    look = look_of_gains
    assert _by_gains(look([25.3, 32.1, 3.5]))[0] is None
    assert _by_gains(look([-520.0, 10.0, 10.0]))[0] is None
    assert _by_gains(look([-520.0, 20.0, 10.0, 0.1], points=2))[0] is None  # two gains since the fall
    assert _by_gains(look([20.0, 10.0, 0.0]))[0] is None
    assert _by_gains(look([20.0, 0.0, 0.0]))[0] == 0.0  # at rest
    left, _ = _by_gains(look([8.0, 4.0, 2.0, 1.0]))
    assert left == pytest.approx(2 * 2 * 1 / 5)  # p = 5: the larger of the last two gains, halved for ever


def look_of_gains(gains, points=9):
    mixture = mixture_of("spherical", 1, 4)
    values = tuple(np.cumsum([-5000.0, *gains]) / 100)
    statistics = MixtureStatistics(100, 0, 100.0, float(values[-1]) * 100, None)
    memory = {"points": np.zeros((points, mixture.n_parameters))}
    return Look(mixture, statistics, NO_FLOORS, memory, values[:-1])


def test_hard_assignments_make_as_many_passes_as_plain_em():
    assert FitConfiguration(n_components=2, assignment="hard").most_passes == 100
    assert FitConfiguration(n_components=2).most_passes == 30


def test_what_is_done_of_a_pass_goes_where_others_take_part():
    mixture = mixture_of("full", 2, 2)
    ended = Contender(0, mixture, (-3.0, -2.9999), converged=True)
    tally = Tally(10, 0, 10.0, (-3.0,), (0,))
    state = FitState((ended, Contender(1, mixture, (-3.0,))), passes=2, step=1, tally=tally)
    same = reopened(state, FitConfiguration(n_components=2, schedule="stepwise", tol=1e-3))
    assert (same.step, same.tally) == (1, tally)
    stricter = reopened(state, FitConfiguration(n_components=2, schedule="stepwise", tol=1e-9))
    assert len(stricter.active) == 2
    assert stricter.step == 0
    assert stricter.tally.log_likelihoods == ()
