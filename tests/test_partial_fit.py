"""Stepwise EM: what one step is, and the estimator's partial_fit on top of it."""

import pickle
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from streamgmm import GaussianMixture, load
from streamgmm.em import m_step
from streamgmm.errors import ConfigError, DataError, DegenerateFitWarning, NumericalError, SchemaError
from streamgmm.online_step import Online, blended, gain_of, implied_moments, online_from, stepped
from streamgmm.regularisation import Regularisation
from tests.making import FAMILIES, PLAIN, clustered_rows, em_steps, random_mixture, same_bits, statistics_of, wide_start

SEEDS = st.integers(0, 2**32 - 1)
pytestmark = pytest.mark.usefixtures("one_algebra_thread")
families = pytest.mark.parametrize("family", FAMILIES)


def _assert_same_model(a, b, rtol=1e-9, atol=1e-11):
    for name, value in a.to_arrays().items():
        np.testing.assert_allclose(value, b.to_arrays()[name], rtol=rtol, atol=atol, err_msg=name)


# ---- one step --------------------------------------------------------------------------------------------------------


@families
@settings(max_examples=10)
@given(seed=SEEDS)
def test_the_implied_moments_give_the_mixture_back(family, seed):
    rng = np.random.default_rng(seed)
    mixture = random_mixture(family, 3, 3, rng)
    moments = implied_moments(mixture, 1000.0)
    statistics = replace(statistics_of(mixture, np.zeros((1, 3))), weight=1000.0, components=moments)
    _assert_same_model(m_step(statistics, mixture, PLAIN)[0], mixture)


@families
@pytest.mark.parametrize("on_singular", ["floor", "drop"])
def test_a_ridge_is_counted_once(family, on_singular, rng):
    """Rows like those that the model is of change nothing, however large reg_covar is; nor after a component was dropped."""
    plain = Regularisation(reg_covar=1.0, occupancy_floor=1.0, on_singular=on_singular)
    mixture = random_mixture(family, 3, 3, rng)
    mixture = m_step(statistics_of(mixture, clustered_rows(3000, 3, 3, rng)), mixture, plain)[0]
    online = online_from(mixture, 3000.0, plain.reg_covar)
    statistics = replace(statistics_of(mixture, np.zeros((1, 3))), weight=3000.0, components=online.moments)
    _assert_same_model(m_step(statistics, mixture, plain)[0], mixture)
    if on_singular == "drop":
        fallen, repairs = stepped(online_from(mixture, 1.2, plain.reg_covar), statistics, replace(plain, occupancy_floor=1e3))
        assert repairs
        again = replace(statistics, weight=float(fallen.moments.n.sum()), components=fallen.moments)
        _assert_same_model(m_step(again, fallen.mixture, plain)[0], fallen.mixture)


@families
@settings(max_examples=10)
@given(seed=SEEDS)
def test_a_step_with_the_whole_gain_is_one_step_of_em(family, seed):
    rng = np.random.default_rng(seed)
    mixture, x = random_mixture(family, 3, 2, rng), clustered_rows(500, 3, 2, rng)
    after, _ = stepped(online_from(mixture, 1e6), statistics_of(mixture, x), PLAIN, window=500.0)
    expected, _ = em_steps(mixture, x, 1, regularisation=PLAIN)
    assert same_bits(after.mixture, expected)


@families
@settings(max_examples=10)
@given(seed=SEEDS, gain=st.floats(0.01, 0.99))
def test_a_blend_is_that_of_the_rows(family, seed, gain):
    """(1-g) of one batch and g of another are the moments of the rows of both, weighted so."""
    rng = np.random.default_rng(seed)
    mixture = random_mixture(family, 3, 2, rng)
    a, b = clustered_rows(200, 3, 2, rng), clustered_rows(300, 3, 2, rng)
    past, fresh = statistics_of(mixture, a), statistics_of(mixture, b)
    moved = past.components.rebase(mixture.components.means + 3.0, mixture.components.structure)
    found = blended(Online(mixture, moved, 200.0), fresh.components, gain, 1000.0, 300.0)
    both = past.components.scale((1 - gain) * 5).merge(fresh.components.scale(gain * 1000 / 300))
    for name, value in both.to_arrays().items():
        np.testing.assert_allclose(found.to_arrays()[name], value, rtol=1e-9, atol=1e-8, err_msg=name)


def test_without_the_rebase_the_blend_is_refused(rng):
    """The guard: moments about other centres do not merge."""
    mixture = random_mixture("gaussian_full", 3, 2, rng)
    fresh = statistics_of(mixture, clustered_rows(50, 3, 2, rng)).components
    with pytest.raises(ValueError, match="rebase"):
        fresh.rebase(fresh.centre + 1, mixture.components.structure).merge(fresh)


@given(seen=st.floats(0, 1e9), batch=st.floats(1e-3, 1e6))
def test_the_gain_falls_as_batches_are_seen_and_never_with_a_window(seen, batch):
    assert 0 < gain_of(seen + batch, batch) < gain_of(seen, batch) <= 2**-0.6
    assert gain_of(seen, batch, window=2 * batch) == 0.5
    assert gain_of(seen, batch, window=batch / 2) == 1.0


@families
def test_weights_are_rows(family, rng):
    mixture, x = random_mixture(family, 3, 2, rng), clustered_rows(300, 3, 2, rng)
    weight = rng.integers(0, 4, 300).astype(float)
    online = online_from(mixture, 100.0)
    one, _ = stepped(online, statistics_of(mixture, x, weight), PLAIN)
    other, _ = stepped(online, statistics_of(mixture, np.repeat(x, weight.astype(int), axis=0)), PLAIN)
    _assert_same_model(one.mixture, other.mixture)
    assert one.weight == other.weight == 100 + weight.sum()


def test_rows_without_weight_change_nothing(rng):
    mixture, x = random_mixture("gaussian_full", 3, 2, rng), clustered_rows(300, 3, 2, rng)
    online = online_from(mixture, 100.0)
    assert stepped(online, statistics_of(mixture, x, np.zeros(300)), PLAIN) == (online, ())


@settings(max_examples=10)
@given(seed=SEEDS)
def test_units_and_order_do_not_matter(seed):
    """Rows scaled and moved give the mixture scaled and moved; rows in another order the same up to rounding."""
    rng = np.random.default_rng(seed)
    mixture, x = random_mixture("gaussian_full", 3, 2, rng), clustered_rows(400, 3, 2, rng)
    scale, move = np.array([4.0, 0.25]), np.array([16.0, -8.0])
    c = mixture.components
    moved = replace(mixture, components=type(c)(c.means * scale + move, c.covariances * scale * scale[:, None]))
    one, other, shuffled = online_from(mixture, 100.0), online_from(moved, 100.0), online_from(mixture, 100.0)
    for batch in np.split(x, 4):
        one, _ = stepped(one, statistics_of(one.mixture, batch), PLAIN)
        other, _ = stepped(other, statistics_of(other.mixture, batch * scale + move), PLAIN)
        shuffled, _ = stepped(shuffled, statistics_of(shuffled.mixture, rng.permutation(batch)), PLAIN)
    found = one.mixture.components
    np.testing.assert_allclose(other.mixture.components.means, found.means * scale + move, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(other.mixture.components.covariances, found.covariances * scale * scale[:, None], rtol=1e-6, atol=1e-8)
    _assert_same_model(shuffled.mixture, one.mixture, rtol=1e-7, atol=1e-9)


@families
def test_many_batches_come_as_far_as_full_batch_em(family, rng):
    """Stationary rows: the likelihood per row within 0.005 of that of EM on all of them."""
    x = clustered_rows(40_000, 3, 2, rng)
    start = em_steps(wide_start(family, 3, x[:2000], rng), x[:2000], 30)[0]
    online = online_from(start, 2000.0)
    for batch in np.split(x, 40):
        online, _ = stepped(online, statistics_of(online.mixture, batch), PLAIN)
    best = em_steps(start, x, 60)[0]
    gap = best.score_samples(x).mean() - online.mixture.score_samples(x).mean()
    assert gap < 0.005


def test_a_component_put_elsewhere_takes_no_past_along(rng):
    mixture, x = random_mixture("gaussian_full", 3, 2, rng), clustered_rows(400, 3, 2, rng)
    policy = Regularisation(reg_covar=0.0, occupancy_floor=150.0, on_singular="drop")
    after, repairs = stepped(online_from(mixture, 10.0), statistics_of(mixture, x), policy)
    assert {repair.action for repair in repairs} == {"drop"}
    assert len(after.moments.n) == after.mixture.n_components < 3
    stepped(after, statistics_of(after.mixture, x), policy)  # and goes on


def test_a_row_of_no_density_is_refused(rng):
    mixture = random_mixture("gaussian_full", 2, 2, rng)
    with pytest.raises(NumericalError, match="density zero"):
        stepped(online_from(mixture, 1.0), replace(statistics_of(mixture, np.zeros((2, 2))), log_likelihood=-np.inf), PLAIN)


# ---- partial_fit -----------------------------------------------------------------------------------------------------


def _rows(rng, n=3000):
    return np.concatenate([rng.normal(0, 1, (n // 2, 2)), rng.normal(6, 1, (n - n // 2, 2))])[rng.permutation(n)]


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "tied_spherical"])
def test_a_stream_comes_as_far_as_a_fit(kind, rng):
    x = _rows(rng, 8000)
    live = GaussianMixture(2, covariance_type=kind, random_state=0)
    for batch in np.split(x, 20):
        assert live.partial_fit(batch) is live
    assert live.score(x) > GaussianMixture(2, covariance_type=kind, random_state=0).fit(x).score(x) - 0.005
    assert not live.converged_
    assert live.outcome_ is None
    assert len(live.lower_bounds_) == live.n_iter_ > 20
    assert live.predict(x[:5]).shape == (5,)


def test_after_a_fit_it_goes_on_from_the_mixture(rng):
    x, new = _rows(rng), _rows(rng, 300)
    fitted = GaussianMixture(2, random_state=0).fit(x)
    expected, _ = stepped(online_from(fitted.mixture_, 3000.0, 1e-6), statistics_of(fitted.mixture_, new), Regularisation())
    n_iter = fitted.n_iter_
    assert same_bits(fitted.partial_fit(new).mixture_, expected.mixture)
    assert fitted.n_iter_ == n_iter + 1
    assert fitted._record.provenance["rows"] == 3300


def test_fit_forgets_what_partial_fit_has_seen(rng):
    x = _rows(rng)
    twice = GaussianMixture(2, random_state=0).partial_fit(_rows(rng)).partial_fit(_rows(rng)).fit(x).partial_fit(x)
    assert same_bits(twice.mixture_, GaussianMixture(2, random_state=0).fit(x).partial_fit(x).mixture_)


def test_a_pickle_keeps_everything_and_a_clone_nothing(rng):
    made = GaussianMixture(2, random_state=0).partial_fit(_rows(rng)).partial_fit(_rows(rng, 500))
    new = _rows(rng, 500)
    copied = pickle.loads(pickle.dumps(made))
    assert same_bits(copied.partial_fit(new).mixture_, made.partial_fit(new).mixture_)
    assert not hasattr(clone(made), "mixture_")


def test_a_saved_model_goes_on_with_what_its_mixture_implies(tmp_path, rng):
    made = (
        GaussianMixture(2, random_state=0, reg_covar=0.0)
        .partial_fit(_rows(rng))
        .partial_fit(_rows(rng, 500), sample_weight=np.full(500, 2.0))
    )
    made.save(tmp_path / "m.zarr")
    loaded = load(tmp_path / "m.zarr")
    assert loaded._seen == 4000
    assert not loaded.converged_
    new = _rows(rng, 500)
    _assert_same_model(loaded.partial_fit(new).mixture_, made.partial_fit(new).mixture_)


def test_weights_of_a_call(rng):
    x, new = _rows(rng), _rows(rng, 500)
    weight = rng.integers(0, 3, 500).astype(float)
    first = GaussianMixture(2, random_state=0).partial_fit(x)
    other = pickle.loads(pickle.dumps(first))
    first.partial_fit(new, sample_weight=weight)
    other.partial_fit(np.repeat(new, weight.astype(int), axis=0))
    _assert_same_model(first.mixture_, other.mixture_)
    before, n_iter = first.mixture_, first.n_iter_
    first.partial_fit(new, sample_weight=np.zeros(500))
    assert same_bits(first.mixture_, before)
    assert first.n_iter_ == n_iter


def test_tables_of_any_kind_give_the_same_bits(rng):
    x, new = _rows(rng), _rows(rng, 500)
    tables = {
        "array": new,
        "lazy": da.from_array(new, chunks=(130, 2)),
        "iterator": iter(np.split(new, 5)),
    }
    made = {}
    for name, table in tables.items():
        made[name] = GaussianMixture(2, random_state=0, block_rows=100, executor="threads").partial_fit(x).partial_fit(table)
    made["serial"] = GaussianMixture(2, random_state=0, block_rows=100, executor="serial").partial_fit(x).partial_fit(new)
    assert same_bits(made["array"].mixture_, made["serial"].mixture_)
    assert same_bits(made["array"].mixture_, made["lazy"].mixture_)
    assert same_bits(made["array"].mixture_, made["iterator"].mixture_)


def test_an_iterator_starts_from_given_parameters_only(rng):
    x = _rows(rng)
    with pytest.raises(DataError, match="iterator of arrays has no second look"):
        GaussianMixture(2).partial_fit(iter(np.split(x, 5)))
    given_start = {"weights_init": [0.5, 0.5], "means_init": [[0, 0], [5, 5]], "precisions_init": [np.eye(2)] * 2}
    made = GaussianMixture(2, **given_start).partial_fit(iter(np.split(x, 5)))
    assert made.n_iter_ == 1


def test_a_repair_is_told(rng):
    made = GaussianMixture(2, random_state=0, variance_floor=0.05, reg_covar=0.0).partial_fit(_rows(rng))
    for _ in range(2):
        with pytest.warns(DegenerateFitWarning, match="Components were repaired in this step: component"):
            made.partial_fit(np.repeat([[0.0, 0.0], [6.0, 6.0]], 3000, axis=0))


def test_missing_values_are_counted_over_calls(rng):
    x, new = _rows(rng), _rows(rng, 100)
    x[0, 0] = new[:3, 1] = np.nan
    made = GaussianMixture(2, missing="skip", random_state=0).partial_fit(x).partial_fit(new)
    assert made.n_skipped_ == 4
    assert np.isfinite(made.means_).all()


def test_what_does_not_fit_is_refused_and_changes_nothing(rng):
    made = GaussianMixture(2, random_state=0).partial_fit(_rows(rng))
    before = made.mixture_
    with pytest.raises(SchemaError, match="X has 3 features, but GaussianMixture is expecting 2 features"):
        made.partial_fit(rng.normal(size=(10, 3)))
    with pytest.raises(DataError, match="NaN"):
        made.partial_fit(np.full((10, 2), np.nan))
    made.set_params(covariance_type="diag")
    with pytest.raises(ConfigError, match="goes on with 2 components of covariance_type 'full'"):
        made.partial_fit(_rows(rng))
    assert made.mixture_ is before
    with pytest.raises(DataError, match="n_components=5 is larger than the number of rows"):
        GaussianMixture(5).partial_fit(rng.normal(size=(4, 2)))
