"""EM as a whole: the likelihood never falls, units and orders do not matter, scikit-learn's numbers, k-means, floors and policies."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import sklearn.cluster
import sklearn.mixture
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.em import e_step, m_step, merge_all
from streamgmm.errors import DataError, NumericalError, SingularComponentError
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Fault, Regularisation
from streamgmm.weights.fixed import FixedWeights
from streamgmm.weights.free import FreeWeights
from tests import twin
from tests.making import (
    FAMILIES,
    PLAIN,
    SKLEARN_TYPES,
    as_arrays_equal,
    block_of,
    clustered_rows,
    dense,
    em_steps,
    family_of,
    random_mixture,
    same_bits,
    statistics_of,
    wide_start,
)

SEEDS = st.integers(0, 2**32 - 1)
pytestmark = pytest.mark.usefixtures("one_algebra_thread")
families = pytest.mark.parametrize("family", FAMILIES)


def _assert_same_model(a, b, rtol=1e-10, atol=1e-12):
    for name, value in a.to_arrays().items():
        np.testing.assert_allclose(value, b.to_arrays()[name], rtol=rtol, atol=atol, err_msg=name)


# ---- one step --------------------------------------------------------------------------------------------------------


@families
@given(seed=SEEDS)
def test_one_step_equals_its_twin(family, seed):
    rng = np.random.default_rng(seed)
    mixture, x = random_mixture(family, 3, 3, rng), clustered_rows(300, 3, 3, rng)
    found, repairs = m_step(statistics_of(mixture, x), mixture, PLAIN)
    weights, means, covariances = twin.m_step(family, x, twin.soft(twin.log_joint(x, *dense(mixture))))
    assert repairs == ()
    np.testing.assert_allclose(found.weights.proportions, weights, rtol=1e-11, atol=1e-15)
    if weights.min() > 1e-8:  # responsibilities below 1e-20 count as 0: of a component that is next to nothing they are a part
        np.testing.assert_allclose(found.components.means, means, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(found.components.covariances, covariances, rtol=1e-9, atol=1e-10)


@families
@given(seed=SEEDS)
@settings(max_examples=8)
def test_the_likelihood_never_falls(family, seed):
    rng = np.random.default_rng(seed)
    x = clustered_rows(400, 3, 2, rng)
    history = em_steps(wide_start(family, 4, x, rng), x, 25)[1]
    assert (np.diff(history) >= -1e-12 * np.abs(history[1:])).all()


@families
@given(seed=SEEDS)
@settings(max_examples=5)
def test_the_likelihood_of_hard_assignments_never_falls(family, seed):
    """Classification EM: every step raises the likelihood of rows and labels together."""
    rng = np.random.default_rng(seed)
    x = clustered_rows(2000, 3, 2, rng)
    history = em_steps(wide_start(family, 3, x, rng), x, 20, hard=True)[1]
    assert (np.diff(history) >= -1e-12 * np.abs(history[1:])).all()


@given(seed=SEEDS)
@settings(max_examples=8)
def test_the_likelihood_never_falls_with_fixed_weights(seed):
    rng = np.random.default_rng(seed)
    x = clustered_rows(400, 3, 2, rng)
    start = wide_start("gaussian_full", 3, x, rng, FixedWeights)
    found, history = em_steps(start, x, 25)
    assert (np.diff(history) >= -1e-12 * np.abs(history[1:])).all()
    assert found.weights.proportions is start.weights.proportions


def test_all_mixtures_are_served_by_one_look_at_the_block(rng):
    mixtures = (random_mixture("gaussian_full", 2, 2, rng), random_mixture("gaussian_diag", 5, 2, rng))
    x = rng.normal(size=(300, 2))
    together = e_step(mixtures, block_of(x), block_rows=65536)
    for found, mixture in zip(together, mixtures, strict=True):
        assert as_arrays_equal(found, statistics_of(mixture, x))
    assert all(as_arrays_equal(a, b) for a, b in zip(merge_all(together, together), [s.merge(s) for s in together], strict=True))


@pytest.mark.parametrize("n", [0, 1, 999, 1000, 1001, 3500])
def test_a_long_block_is_cut_and_merged_in_the_fixed_tree(n, rng):
    mixture, x, weight = random_mixture("gaussian_full", 3, 3, rng), rng.normal(size=(n, 3)), rng.uniform(0, 2, n)
    whole = e_step((mixture,), block_of(x, weight, skipped=7), block_rows=1000)[0]
    parts = [statistics_of(mixture, x[i : i + 1000], weight[i : i + 1000]) for i in range(0, n, 1000)]
    assert whole.rows == n
    assert whole.skipped == 7
    if n == 3500:
        assert as_arrays_equal(replace(whole, skipped=0), parts[0].merge(parts[1]).merge(parts[2].merge(parts[3])))
    elif n > 1000:
        assert as_arrays_equal(replace(whole, skipped=0), parts[0].merge(parts[1]))


# ---- what must not matter --------------------------------------------------------------------------------------------


@families
@given(seed=SEEDS, offset=st.sampled_from([2.0**10, -(2.0**20), 2.0**27]))
@settings(max_examples=10)
def test_a_translation_moves_the_means_and_nothing_else(family, seed, offset):
    """Rows on a grid of 2^-20, so that the offset rounds nothing; what is left is the rounding of the means themselves."""
    rng = np.random.default_rng(seed)
    x = np.round(clustered_rows(500, 3, 2, rng) * 2**20) / 2**20
    start = wide_start(family, 3, x, rng)
    moved = Mixture(replace(start.components, means=start.components.means + offset), start.weights)
    plain, plain_history = em_steps(start, x, 8)
    shifted, shifted_history = em_steps(moved, x + offset, 8)
    slack = 200 * np.spacing(abs(offset))
    _assert_same_model(Mixture(replace(shifted.components, means=shifted.components.means - offset), shifted.weights), plain, slack, slack)
    np.testing.assert_allclose(shifted_history, plain_history, rtol=slack, atol=slack)


def _scaled(mixture, scale):
    components = mixture.components
    structure = components.structure
    factor = scale[0] ** 2 if structure.isotropic else scale[:, None] * scale if structure.dense else scale**2
    return Mixture(type(components)(components.means * scale, components.covariances * factor), mixture.weights)


@families
@given(seed=SEEDS, exponents=st.tuples(*[st.integers(-400, 400)] * 3))
@settings(max_examples=10)
def test_scaling_columns_by_powers_of_two_scales_the_same_bits_when_rows_are_assigned_hard(family, seed, exponents):
    rng = np.random.default_rng(seed)
    x = clustered_rows(400, 3, 3, rng)
    start = wide_start(family, 3, x, rng)
    scale = 2.0 ** np.array(exponents if not start.components.structure.isotropic else exponents[:1] * 3)
    plain, _ = em_steps(start, x, 5, hard=True)
    other, _ = em_steps(_scaled(start, scale), x * scale, 5, hard=True)
    assert same_bits(other, _scaled(plain, scale))


@families
@given(seed=SEEDS, scales=st.tuples(*[st.floats(1e-9, 1e9)] * 3))
@settings(max_examples=10)
def test_scaling_columns_scales_the_answer(family, seed, scales):
    rng = np.random.default_rng(seed)
    x = clustered_rows(400, 3, 3, rng)
    start = wide_start(family, 3, x, rng)
    scale = np.array(scales if not start.components.structure.isotropic else scales[:1] * 3)
    plain, plain_history = em_steps(start, x, 5)
    other, history = em_steps(_scaled(start, scale), x * scale, 5)
    _assert_same_model(_scaled(other, 1 / scale), plain, 1e-9, 1e-9)
    np.testing.assert_allclose(np.array(history) + np.log(scale).sum(), plain_history, rtol=1e-11, atol=1e-10)


@families
@given(seed=SEEDS)
@settings(max_examples=10)
def test_the_order_of_rows_and_of_components_does_not_matter(family, seed):
    rng = np.random.default_rng(seed)
    x = clustered_rows(500, 3, 2, rng)
    start = wide_start(family, 3, x, rng)
    plain, history = em_steps(start, x, 8)
    shuffled, other_history = em_steps(start, rng.permutation(x), 8)
    _assert_same_model(shuffled, plain)
    np.testing.assert_allclose(other_history, history, rtol=1e-12)
    order = rng.permutation(3)
    _assert_same_model(em_steps(start.select(order), x, 8)[0], plain.select(order))


@families
@given(seed=SEEDS)
@settings(max_examples=10)
def test_a_row_of_weight_w_counts_as_w_rows(family, seed):
    rng = np.random.default_rng(seed)
    x = clustered_rows(200, 3, 2, rng)
    start = wide_start(family, 3, x, rng)
    times = rng.integers(0, 5, 200)
    weighted, weighted_history = em_steps(start, x, 8, times.astype(float))
    repeated, repeated_history = em_steps(start, np.repeat(x, times, axis=0), 8)
    _assert_same_model(weighted, repeated)
    np.testing.assert_allclose(weighted_history, repeated_history, rtol=1e-12)


@families
@pytest.mark.parametrize("factor", [1e-30, 10.0, 100.0, 1e30])
def test_the_unit_of_the_weights_leaves_the_fit_unchanged(family, factor, rng):
    x = clustered_rows(500, 3, 2, rng)
    start = wide_start(family, 3, x, rng)
    plain, history = em_steps(start, x, 8)
    scaled, scaled_history = em_steps(start, x, 8, np.full(500, factor))
    _assert_same_model(scaled, plain, 1e-12, 1e-12)
    np.testing.assert_allclose(scaled_history, history, rtol=1e-13)


@families
@pytest.mark.parametrize("exponent", [-200, 5, 200])
def test_a_power_of_two_as_the_unit_of_the_weights_gives_the_same_bits(family, exponent, rng):
    x = clustered_rows(500, 3, 2, rng)
    start = wide_start(family, 3, x, rng)
    plain, history = em_steps(start, x, 8)
    scaled, scaled_history = em_steps(start, x, 8, np.full(500, 2.0**exponent))
    assert same_bits(scaled, plain)
    assert scaled_history == history


# ---- scikit-learn's numbers ------------------------------------------------------------------------------------------


def _sklearn_from(start, kind, x, n_steps, **parameters):
    model = sklearn.mixture.GaussianMixture(
        start.n_components,
        covariance_type=kind,
        weights_init=start.weights.proportions,
        means_init=start.components.means,
        precisions_init=start.components.precisions(),
        max_iter=n_steps,
        **parameters,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        return model.fit(x)


@pytest.mark.parametrize(("n", "d", "k"), [(500, 1, 2), (3000, 3, 4), (2000, 12, 3), (4000, 6, 8)])
@pytest.mark.parametrize(("family", "kind"), SKLEARN_TYPES.items())
def test_the_same_start_and_number_of_steps_give_scikit_learns_numbers(family, kind, n, d, k, rng):
    x, start = clustered_rows(n, k, d, rng), random_mixture(family, k, d, rng)
    start = Mixture(replace(start.components, means=x[:k].copy()), start.weights)
    found, history = em_steps(start, x, 15, regularisation=Regularisation())
    model = _sklearn_from(start, kind, x, 15, tol=0.0)
    assert model.n_iter_ == 15
    np.testing.assert_allclose(found.weights.proportions, model.weights_, rtol=1e-10)
    np.testing.assert_allclose(found.components.means, model.means_, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.components.covariances, model.covariances_, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(history[-1], model.lower_bound_, rtol=1e-10)
    np.testing.assert_allclose(found.score_samples(x), model.score_samples(x), rtol=1e-9)
    np.testing.assert_array_equal(found.predict(x), model.predict(x))
    np.testing.assert_allclose(found.responsibilities(x), model.predict_proba(x), atol=1e-9)
    assert found.n_parameters == model._n_parameters()


# ---- k-means ---------------------------------------------------------------------------------------------------------


def _kmeans_start(centres, variance=1.0):
    k = len(centres)
    components = family_of("gaussian_tied_spherical")(centres, np.array(variance))
    return Mixture(components, FixedWeights(np.full(k, 1 / k)))


@pytest.mark.parametrize(("n", "d", "k"), [(300, 1, 3), (1000, 3, 5), (2000, 12, 8)])
def test_hard_assignment_with_one_variance_and_equal_weights_is_lloyds_k_means(n, d, k, rng):
    x = clustered_rows(n, k, d, rng)
    centres = x[rng.choice(n, k, replace=False)]
    model = sklearn.cluster.KMeans(k, init=centres, n_init=1, algorithm="lloyd", tol=0, max_iter=300).fit(x)
    found, history = em_steps(_kmeans_start(centres.copy()), x, model.n_iter_ + 2, hard=True)
    np.testing.assert_array_equal(found.predict(x), model.labels_)
    np.testing.assert_allclose(found.components.means, model.cluster_centers_, rtol=1e-12, atol=1e-12)
    assert found.components.covariances * n * d == pytest.approx(model.inertia_, rel=1e-11)
    assert history[-1] == history[-2]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_every_step_on_the_way_is_a_step_of_lloyd(steps, rng):
    x = clustered_rows(1000, 6, 3, rng)
    centres = x[:6].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        model = sklearn.cluster.KMeans(6, init=centres, n_init=1, algorithm="lloyd", tol=0, max_iter=steps).fit(x)
    found, _ = em_steps(_kmeans_start(centres), x, steps, hard=True)
    np.testing.assert_allclose(found.components.means, model.cluster_centers_, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.predict(x), model.labels_)


def test_the_start_of_the_variance_does_not_matter_to_k_means(rng):
    x = clustered_rows(500, 4, 2, rng)
    centres = x[:4].copy()
    wide, narrow = (em_steps(_kmeans_start(centres, variance), x, 6, hard=True)[0] for variance in (1e-6, 1e6))
    assert same_bits(wide, narrow)


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_no_row_that_takes_part_is_refused(rng):
    mixture = random_mixture("gaussian_full", 2, 2, rng)
    with pytest.raises(DataError, match="no row takes part: 5 rows read with total weight 0, 0 left out"):
        m_step(statistics_of(mixture, rng.normal(size=(5, 2)), np.zeros(5)), mixture, PLAIN)


def test_statistics_that_are_not_finite_are_refused(rng):
    mixture = random_mixture("gaussian_full", 2, 2, rng)
    with pytest.raises(NumericalError, match="not finite"):
        m_step(replace(statistics_of(mixture, rng.normal(size=(5, 2))), log_likelihood=np.inf), mixture, PLAIN)


# ---- degenerate tables and policies ----------------------------------------------------------------------------------


def _finite(mixture, x):
    return (
        all(np.isfinite(value).all() for value in mixture.to_arrays().values())
        and np.isfinite(mixture.score_samples(x)).all()
        and np.isfinite(mixture.responsibilities(x)).all()
    )


DEGENERATE = {
    "a constant column": lambda x: np.column_stack([x[:, 0], np.full(len(x), 0.1)]),
    "a constant column of zeros": lambda x: np.column_stack([x[:, 0], np.zeros(len(x))]),
    "a large constant column": lambda x: np.column_stack([x[:, 0], np.full(len(x), 1e9 / 3)]),
    "a tiny constant column": lambda x: np.column_stack([x[:, 0], np.full(len(x), 1e-200)]),
    "collinear columns": lambda x: np.column_stack([x[:, 0], 3 * x[:, 0] + 1]),
    "collinear columns far apart in scale": lambda x: np.column_stack([1e-9 * x[:, 0], 1e12 * x[:, 0]]),
    "identical rows": lambda x: np.full_like(x, 7.3),
    "rows of zeros": np.zeros_like,
    "two distinct rows": lambda x: np.where(x[:, :1] > 0, [[1.0, 2.0]], [[-5.0, 3.0]]),
    "integers": np.round,
}


@pytest.mark.parametrize("policy", ["floor", "reseed", "drop"])
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("table", DEGENERATE.values(), ids=DEGENERATE.keys())
@families
def test_nothing_that_is_not_finite_comes_out_of_a_degenerate_table(family, table, hard, policy, rng):
    x = table(clustered_rows(60, 2, 2, rng))
    mixture = Mixture(
        family_of(family).from_dense(x[[0, 1, 2]] + [[0.0], [1e-3], [-1e-3]], np.stack([np.eye(2)] * 3), np.full(3, 1 / 3)),
        FreeWeights(np.full(3, 1 / 3)),
    )
    for _ in range(6):
        mixture, repairs = m_step(statistics_of(mixture, x, hard=hard), mixture, Regularisation(0.0, None, 0.0, policy))
        assert _finite(mixture, x)
        assert all(np.isfinite(repair.fault.value) for repair in repairs)
        assert mixture.n_components >= 1


def _spike(family, rng, weights=FreeWeights):
    """Two components on a cluster of 100 rows, and a third on one row far away."""
    x = np.vstack([rng.normal(size=(100, 2)), [[50.0, 50.0]]])
    means = np.array([[-1.0, 0.0], [1.0, 0.0], [50.0, 50.0]])
    return x, Mixture(family_of(family).from_dense(means, np.stack([np.eye(2)] * 3), np.full(3, 1 / 3)), weights(np.full(3, 1 / 3)))


OWN_COVARIANCE = pytest.mark.parametrize("family", ["gaussian_full", "gaussian_diag", "gaussian_spherical"])


@OWN_COVARIANCE
@pytest.mark.parametrize("policy", ["floor", "reseed", "drop"])
def test_a_component_on_one_row_is_repaired_by_the_policy_and_named(family, policy, rng):
    x, start = _spike(family, rng)
    mixture, repairs = m_step(statistics_of(start, x), start, Regularisation(0.0, None, 0.0, policy))
    assert [(repair.action, repair.fault.kind, repair.fault.component) for repair in repairs] == [(policy, "variance", 2)]
    assert repairs[0].fault.value < 1e-12
    assert _finite(mixture, x)
    if policy == "floor":
        np.testing.assert_allclose(mixture.components.means[2], [50, 50])
        np.testing.assert_allclose(np.diagonal(mixture.components.dense_covariances()[2]), 1e-12 * x.var(axis=0), rtol=0.5)
    elif policy == "drop":
        assert mixture.n_components == 2
        assert mixture.weights.proportions.sum() == pytest.approx(1)
    else:
        assert np.linalg.norm(mixture.components.means[2]) < 10
        assert mixture.n_components == 3


@OWN_COVARIANCE
def test_raise_names_component_value_and_remedy(family, rng):
    x, start = _spike(family, rng)
    with pytest.raises(SingularComponentError, match=r"component 2: smallest relative eigenvalue .* raise reg_covar or variance_floor"):
        m_step(statistics_of(start, x), start, Regularisation(0.0, None, 0.0, "raise"))


@OWN_COVARIANCE
def test_scikit_learns_ridge_needs_no_repair(family, rng):
    x, start = _spike(family, rng)
    mixture, repairs = m_step(statistics_of(start, x), start, Regularisation(on_singular="raise"))
    assert repairs == ()
    np.testing.assert_allclose(np.diagonal(mixture.components.dense_covariances()[2]), 1e-6, rtol=1e-6)


@families
def test_the_relative_floor_refuses_spikes(family, rng):
    x, start = _spike(family, rng)
    mixture = start
    for _ in range(10):
        mixture, _ = m_step(statistics_of(mixture, x), mixture, Regularisation(0.0, 1e-3))
    variances = np.einsum("kii->ki", mixture.components.dense_covariances())
    floor = 1e-3 * (x.var(axis=0) if not mixture.components.structure.isotropic else x.var(axis=0).mean())
    assert (variances >= floor * (1 - 1e-9)).all()


@families
@pytest.mark.parametrize("policy", ["floor", "reseed", "drop"])
def test_an_empty_component_is_repaired_by_the_policy_and_named(family, policy, rng):
    x, start = _spike(family, rng)
    x = x[:-1]
    mixture, repairs = m_step(statistics_of(start, x, hard=True), start, Regularisation(0.0, None, 0.0, policy))
    assert [(repair.action, repair.fault.kind, repair.fault.component) for repair in repairs] == [(policy, "occupancy", 2)]
    assert repairs[0].fault.value == 0
    assert _finite(mixture, x)
    assert mixture.n_components == (2 if policy == "drop" else 3)
    if policy == "reseed":
        again = m_step(statistics_of(mixture, x, hard=True), mixture, Regularisation(0.0, None, 0.0, "raise"))[0]
        assert again.weights.proportions.min() > 0


@families
def test_an_empty_component_raises_where_asked(family, rng):
    x, start = _spike(family, rng)
    with pytest.raises(SingularComponentError, match=r"component 2 holds 0 rows, at or below the floor"):
        m_step(statistics_of(start, x[:-1], hard=True), start, Regularisation(0.0, None, 0.0, "raise"))


def test_reseeding_leaves_fixed_weights_alone(rng):
    x, start = _spike("gaussian_tied_spherical", rng, FixedWeights)
    mixture, repairs = m_step(statistics_of(start, x[:-1], hard=True), start, Regularisation(0.0, None, 0.0, "reseed"))
    assert len(repairs) == 1
    np.testing.assert_array_equal(mixture.weights.proportions, start.weights.proportions)


@pytest.mark.parametrize("family", ["gaussian_tied", "gaussian_tied_spherical"])
@pytest.mark.parametrize("policy", ["floor", "reseed", "drop"])
def test_a_shared_covariance_can_only_be_floored(family, policy, rng):
    x = np.full((50, 2), 3.0)
    even = np.full(2, 0.5)
    start = Mixture(family_of(family).from_dense(x[:2] + np.array([[0.0], [1.0]]), np.stack([np.eye(2)] * 2), even), FreeWeights(even))
    mixture, repairs = m_step(statistics_of(start, x), start, Regularisation(0.0, None, 0.0, policy))
    shared = [repair for repair in repairs if repair.fault.component == -1]
    assert [repair.action for repair in shared] == ["floor"]
    assert mixture.n_components == 2
    with pytest.raises(SingularComponentError, match="the shared covariance: smallest relative eigenvalue"):
        m_step(statistics_of(start, x), start, Regularisation(0.0, None, 0.0, "raise"))


@OWN_COVARIANCE
def test_dropping_keeps_the_heaviest_component_when_all_have_fallen(family, rng):
    """An empty component first: keeping that one would leave a mixture without weight."""
    x = np.vstack([np.full((1, 2), -20.0), np.full((9, 2), 3.0)])
    means = np.array([[1e3, 1e3], [-20.0, -20.0], [3.0, 3.0]])
    start = Mixture(family_of(family).from_dense(means, np.stack([np.eye(2)] * 3), np.full(3, 1 / 3)), FreeWeights(np.full(3, 1 / 3)))
    mixture, repairs = m_step(statistics_of(start, x), start, Regularisation(0.0, None, 0.0, "drop"))
    assert {(repair.fault.component, repair.action) for repair in repairs} == {(0, "drop"), (1, "drop"), (2, "floor")}
    assert mixture.n_components == 1
    np.testing.assert_allclose(mixture.components.means, [[3.0, 3.0]])
    np.testing.assert_array_equal(mixture.weights.proportions, [1.0])


@OWN_COVARIANCE
def test_reseeding_without_a_healthy_component_floors_instead(family):
    x = np.vstack([np.full((5, 2), -20.0), np.full((5, 2), 3.0)])
    start = Mixture(
        family_of(family).from_dense(np.array([[-20.0, -20.0], [3.0, 3.0]]), np.stack([np.eye(2)] * 2), np.full(2, 0.5)),
        FreeWeights(np.full(2, 0.5)),
    )
    mixture, repairs = m_step(statistics_of(start, x), start, Regularisation(0.0, None, 0.0, "reseed"))
    assert [repair.action for repair in repairs] == ["floor", "floor"]
    np.testing.assert_allclose(mixture.components.means, start.components.means)
    np.testing.assert_allclose(mixture.weights.proportions, 0.5)


@families
def test_more_components_than_distinct_rows(family, rng):
    x = np.repeat(np.array([[0.0, 0.0], [10.0, 0.0]]), 20, axis=0)
    start = random_mixture(family, 5, 2, rng)
    for policy in ("floor", "reseed", "drop"):
        mixture = start
        for _ in range(10):
            mixture, _ = m_step(statistics_of(mixture, x), mixture, Regularisation(on_singular=policy))
            assert _finite(mixture, x)


def test_a_fault_says_what_fell():
    fault = Fault("variance", 3, 1e-20, 0.0)
    assert (fault.kind, fault.component, fault.value, fault.floor) == ("variance", 3, 1e-20, 0.0)
