"""Gaussian components of every structure: M-step against the twin and against the calculus, factors, verbs, refusals."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

from streamgmm.errors import ConfigError, SingularComponentError
from streamgmm.regularisation import Regularisation
from tests import twin
from tests.making import (
    FAMILIES,
    PLAIN,
    SKLEARN_TYPES,
    dense,
    family_of,
    random_covariances,
    random_mixture,
    statistics_of,
)

SEEDS = st.integers(0, 2**32 - 1)
pytestmark = pytest.mark.usefixtures("one_algebra_thread")
families = pytest.mark.parametrize("family", FAMILIES)


def _maximised(mixture, x, weight=None, *, hard=False, regularisation=PLAIN):
    return mixture.components.maximise(statistics_of(mixture, x, weight, hard=hard).components, regularisation)


def _rows_and_shares(family, seed, n=120, k=3, d=3):
    rng = np.random.default_rng(seed)
    mixture = random_mixture(family, k, d, rng)
    x, weight = rng.normal(scale=3.0, size=(n, d)), rng.uniform(0, 2, n)
    return mixture, x, weight, twin.soft(twin.log_joint(x, *dense(mixture))) * weight[:, None]


# ---- the M-step ------------------------------------------------------------------------------------------------------


@families
@given(seed=SEEDS, reg_covar=st.sampled_from([0.0, 1e-6, 0.5]))
def test_maximise_equals_its_twin(family, seed, reg_covar):
    mixture, x, weight, shares = _rows_and_shares(family, seed)
    found, faults = _maximised(mixture, x, weight, regularisation=Regularisation(reg_covar=reg_covar))
    _, means, covariances = twin.m_step(family, x, shares, reg_covar)
    assert faults == ()
    np.testing.assert_allclose(found.means, means, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(found.covariances, covariances, rtol=1e-9, atol=1e-11)


def _directions(structure, d):
    """A basis of the symmetric changes that the structure allows."""
    if structure.isotropic:
        return [np.eye(d)]
    basis = [np.diag(row) for row in np.eye(d)]
    if structure.dense:
        basis += [np.outer(a, b) + np.outer(b, a) for i, a in enumerate(np.eye(d)) for b in np.eye(d)[:i]]
    return basis


def _moved(covariances, chosen, change):
    """V_k to L (1 + change) L^T with L L^T = V_k, for the chosen components: symmetric, and in units of V itself."""
    factors = np.linalg.cholesky(covariances)
    moved = covariances.copy()
    d = covariances.shape[-1]
    for k in chosen:
        moved[k] = factors[k] @ (np.eye(d) + change) @ factors[k].T
    return moved


@families
@given(seed=SEEDS)
@settings(max_examples=4)
def test_maximise_is_stationary_and_a_maximum(family, seed):
    """Central differences of Q in every mean, every free direction of every covariance; all in units of the component itself."""
    mixture, x, weight, shares = _rows_and_shares(family, seed)
    found, _ = _maximised(mixture, x, weight)
    weights = shares.sum(axis=0) / shares.sum()
    means, covariances = found.means, found.dense_covariances()
    k, d = means.shape
    total, step = shares.sum(), 1e-4

    def q(m, v):
        return twin.expected_log_likelihood(x, shares, weights, m, v) / total

    best = q(means, covariances)
    factors = np.linalg.cholesky(covariances)

    def check(forward, backward):
        up, down = q(*forward), q(*backward)
        assert abs(up - down) / (2 * step) < 1e-7
        assert max(up, down) < best + 1e-15 * abs(best)

    for j in range(k):
        for axis in range(d):
            change = np.zeros((k, d))
            change[j] = step * factors[j][:, axis]
            check((means + change, covariances), (means - change, covariances))
    groups = [range(k)] if found.structure.shared else [[j] for j in range(k)]
    for chosen in groups:
        for direction in _directions(found.structure, d):
            check((means, _moved(covariances, chosen, step * direction)), (means, _moved(covariances, chosen, -step * direction)))


@families
def test_the_structure_is_kept(family, rng):
    mixture = random_mixture(family, 3, 4, rng)
    found, _ = _maximised(mixture, rng.normal(size=(200, 4)))
    structure, covariances = found.structure, found.dense_covariances()
    off = covariances - np.einsum("kii->ki", covariances)[:, :, None] * np.eye(4)
    assert (np.abs(off).max() > 0) == structure.dense
    assert (np.ptp(covariances, axis=0).max() > 0) == (not structure.shared)
    variances = np.einsum("kii->ki", covariances)
    assert (np.ptp(variances, axis=1).max() > 0) == (not structure.isotropic)
    assert type(found) is type(mixture.components)


@families
def test_a_component_without_rows_keeps_its_parameters_and_is_named(family, rng):
    mixture = random_mixture(family, 3, 3, rng)
    x = mixture.components.means[0] + 0.1 * rng.normal(size=(100, 3))
    far = mixture.components.means.copy()
    far[2] = 1e6
    mixture = type(mixture)(type(mixture.components)(far, mixture.components.covariances), mixture.weights)
    found, faults = _maximised(mixture, x)
    assert [(fault.kind, fault.component) for fault in faults] == [("occupancy", 2)]
    assert faults[0].value <= faults[0].floor
    np.testing.assert_array_equal(found.means[2], far[2])
    if not found.structure.shared:
        np.testing.assert_array_equal(found.covariances[2], mixture.components.covariances[2])


@families
def test_the_occupancy_floor_is_in_rows(family, rng):
    mixture = random_mixture(family, 3, 3, rng)
    x = rng.normal(scale=3.0, size=(300, 3))
    held = np.sort(statistics_of(mixture, x).components.n)
    between = (held[0] + held[1]) / 2
    found, faults = _maximised(mixture, x, regularisation=Regularisation(0.0, None, between))
    assert [(fault.kind, fault.value, fault.floor) for fault in faults] == [("occupancy", held[0], between)]
    k = faults[0].component
    np.testing.assert_array_equal(found.means[k], mixture.components.means[k])


@families
def test_the_variance_floor_is_relative_to_the_column(family, rng):
    """Columns on scales of 1e-6 and 1e9; a narrow cluster in a wide table is lifted to the floor in every column."""
    scale = np.array([1e-6, 1.0, 1e9])
    x = np.vstack([rng.normal(size=(200, 3)), 8 + 1e-5 * rng.normal(size=(200, 3))]) * scale
    centres = np.array([np.zeros(3), np.full(3, 8.0)]) * scale
    components = family_of(family).from_dense(centres, np.stack([np.diag(scale**2)] * 2), np.full(2, 0.5))
    mixture = type(random_mixture(family, 2, 3, rng))(components, random_mixture(family, 2, 3, rng).weights)
    found, faults = _maximised(mixture, x, hard=True, regularisation=Regularisation(0.0, 1e-4))
    structure = found.structure
    if structure.shared or structure.isotropic:
        assert np.isfinite(found.covariances).all()
        return
    assert [(fault.kind, fault.component) for fault in faults] == [("variance", 1)]
    assert faults[0].value < faults[0].floor == 1e-4
    variances = np.einsum("kii->ki", found.dense_covariances())[1]
    np.testing.assert_allclose(variances / x.var(axis=0), 1e-4, rtol=1e-6)


# ---- accuracy against exact rational arithmetic ----------------------------------------------------------------------


def _fractions(x):
    return [[Fraction(float(value)) for value in row] for row in x]


def _exact_moments(x, weight):
    """Weighted mean (D) and covariance (D D) of these float64 numbers without any rounding."""
    rows, w = _fractions(x), [Fraction(float(value)) for value in weight]
    total, d = sum(w), x.shape[1]
    mean = [sum(wi * row[j] for wi, row in zip(w, rows, strict=True)) / total for j in range(d)]
    covariance = [
        [sum(wi * (r[i] - mean[i]) * (r[j] - mean[j]) for wi, r in zip(w, rows, strict=True)) / total for j in range(d)] for i in range(d)
    ]
    return mean, covariance


CATALOGUE = {
    "plain": ((0.0, 1.0), (0.0, 1.0)),
    "right ascension, and microarcseconds of scatter": ((180.0, 1e-6), (0.0, 1e-6)),
    "Julian date": ((2451545.0, 1e-3), (0.0, 1.0)),
    "milliarcseconds around the circle": ((1.2e9, 1.0), (-3.0e8, 1.0)),
    "tiny": ((1e-150, 1e-150), (0.0, 1e-150)),
    "huge": ((1e150, 1e150), (0.0, 1e150)),
    "mixed": ((1e-150, 1e-150), (1e150, 1e150)),
}


@pytest.mark.parametrize("columns", CATALOGUE.values(), ids=CATALOGUE.keys())
@families
def test_moments_are_exact_to_rounding_on_the_columns_of_catalogues(family, columns, rng):
    x = np.column_stack([centre + scatter * rng.normal(size=40) for centre, scatter in columns])
    weight = rng.uniform(0.5, 2.0, 40)
    start = np.diag([scatter**2 for _, scatter in columns])
    components = family_of(family).from_dense(x[:1].copy(), start[None], np.ones(1))
    for _ in range(2):  # the second pass takes moments about the mean of the first
        likelihood, moments = components.accumulate(x, weight, np.zeros(1), hard=False)
        components, faults = components.maximise(moments, PLAIN)
        assert faults == ()
    assert math.isfinite(likelihood)
    mean, covariance = _exact_moments(x, weight)
    for j, (_, scatter) in enumerate(columns):
        spacing = np.spacing(abs(float(mean[j])))
        assert abs(Fraction(float(components.means[0, j])) - mean[j]) <= 2 * Fraction(spacing) + Fraction(1e-15 * scatter)
    found = components.dense_covariances()[0]
    if components.structure.isotropic:
        average = sum(covariance[j][j] for j in range(2)) / 2
        covariance = [[average, 0], [0, average]]
    for i in range(2):
        for j in range(i + 1) if components.structure.dense else [i]:
            size = float(covariance[i][i]) ** 0.5 * float(covariance[j][j]) ** 0.5
            assert abs(float(Fraction(float(found[i, j])) - covariance[i][j])) <= 1e-13 * size


# ---- densities and factors -------------------------------------------------------------------------------------------


@families
@given(seed=SEEDS)
def test_factors_whiten_the_covariance(family, seed):
    components = random_mixture(family, 3, 4, np.random.default_rng(seed)).components
    covariances = components.dense_covariances()
    w = components.whitening if components.structure.dense else components.whitening[:, :, None] * np.eye(4)
    w = np.broadcast_to(w, (3, 4, 4))
    np.testing.assert_allclose(w @ covariances @ w.transpose(0, 2, 1), np.broadcast_to(np.eye(4), (3, 4, 4)), atol=1e-11)


@pytest.mark.parametrize(("family", "kind"), SKLEARN_TYPES.items())
def test_precisions_are_those_of_scikit_learn(family, kind, rng):
    components = random_mixture(family, 3, 4, rng).components
    expected = _compute_precision_cholesky(components.covariances, kind)
    np.testing.assert_allclose(components.precision_cholesky(), expected, rtol=1e-10, atol=1e-12)
    back = type(components).from_precisions(components.means, components.precisions())
    np.testing.assert_allclose(back.covariances, components.covariances, rtol=1e-10, atol=1e-12)


@families
def test_precisions_invert_covariances(family, rng):
    components = random_mixture(family, 3, 4, rng).components
    back = type(components).from_precisions(components.means, components.precisions())
    np.testing.assert_allclose(back.dense_covariances(), components.dense_covariances(), rtol=1e-10, atol=1e-12)


PARAMETERS = {
    "gaussian_full": lambda k, d: k * d + k * d * (d + 1) // 2,
    "gaussian_tied": lambda k, d: k * d + d * (d + 1) // 2,
    "gaussian_diag": lambda k, d: 2 * k * d,
    "gaussian_spherical": lambda k, d: k * d + k,
    "gaussian_tied_spherical": lambda k, d: k * d + 1,
}


@pytest.mark.parametrize(("k", "d"), [(1, 1), (3, 4), (2, 12)])
@families
def test_free_parameters_are_counted(family, k, d, rng):
    assert random_mixture(family, k, d, rng).components.n_parameters == PARAMETERS[family](k, d)


@given(seed=SEEDS, k=st.integers(1, 4))
def test_the_families_best_fit_to_dense_covariances_is_their_average(seed, k):
    rng = np.random.default_rng(seed)
    weights, means, covariances = rng.dirichlet(np.ones(k)), rng.normal(size=(k, 3)), random_covariances(k, 3, rng)
    made = {family: family_of(family).from_dense(means, covariances, weights).covariances for family in FAMILIES}
    variances = np.einsum("kii->ki", covariances)
    np.testing.assert_array_equal(made["gaussian_full"], covariances)
    np.testing.assert_allclose(made["gaussian_tied"], np.einsum("k,kij->ij", weights, covariances), rtol=1e-13)
    np.testing.assert_array_equal(made["gaussian_diag"], variances)
    np.testing.assert_allclose(made["gaussian_spherical"], variances.mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(made["gaussian_tied_spherical"], (weights @ variances).mean(), rtol=1e-13)


# ---- split, select, sample -------------------------------------------------------------------------------------------


@families
@given(seed=SEEDS)
def test_split_keeps_the_moments_of_the_donor(family, seed):
    mixture = random_mixture(family, 3, 3, np.random.default_rng(seed))
    halves = mixture.components.split(1, 2)
    np.testing.assert_array_equal(halves.means[0], mixture.components.means[0])
    np.testing.assert_allclose(halves.means[1:].mean(axis=0), mixture.components.means[1], rtol=1e-12, atol=1e-12)
    step = (halves.means[1] - halves.means[2]) / 2
    assert np.linalg.norm(step) > 0
    structure = halves.structure
    before, after = mixture.components.dense_covariances()[1], halves.dense_covariances()
    np.testing.assert_array_equal(after[1], after[2])
    if structure.shared:
        np.testing.assert_array_equal(after[1], before)
    elif structure.isotropic:
        assert np.trace(after[1]) + step @ step == pytest.approx(np.trace(before))
    else:
        np.testing.assert_allclose(after[1] + np.outer(step, step), before, rtol=1e-9, atol=1e-9)


@families
def test_split_goes_along_the_largest_axis(family, rng):
    components = family_of(family).from_dense(np.zeros((2, 3)), np.stack([np.diag([1.0, 9.0, 4.0])] * 2), np.full(2, 0.5))
    step = components.split(0, 1).means[0]
    if not components.structure.isotropic:
        np.testing.assert_allclose(np.abs(step), [0, 0.7 * 3, 0], atol=1e-12)
    assert components.extent()[0] == pytest.approx(3.0 if not components.structure.isotropic else math.sqrt(14 / 3))


@families
def test_samples_have_the_moments_of_their_component(family, rng):
    components = random_mixture(family, 2, 3, rng).components
    labels = np.repeat([1, 0], 40_000)
    x = components.sample(labels, rng)
    for k in range(2):
        mine = x[labels == k]
        np.testing.assert_allclose(mine.mean(axis=0), components.means[k], atol=0.05)
        np.testing.assert_allclose(np.cov(mine.T), components.dense_covariances()[k], rtol=0.05, atol=0.05)


# ---- refusals --------------------------------------------------------------------------------------------------------


@families
def test_a_covariance_of_the_wrong_shape_is_refused_with_both_shapes(family):
    family = family_of(family)
    with pytest.raises(ConfigError, match=r"must have shape .* got \(7,\)"):
        family(np.zeros((2, 3)), np.ones(7))


@families
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_covariance_that_is_not_positive_definite_is_refused(family, bad, rng):
    components = random_mixture(family, 3, 2, rng).components
    covariances = np.array(components.covariances)
    shape = covariances.shape
    covariances.reshape(-1)[-1] = bad
    with pytest.raises((SingularComponentError, ConfigError)):
        type(components)(components.means, covariances.reshape(shape))


@families
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_mean_that_is_not_finite_is_refused(family, bad, rng):
    components = random_mixture(family, 3, 2, rng).components
    means = components.means.copy()
    means[1, 0] = bad
    with pytest.raises(ConfigError, match="component 1: its mean is not finite"):
        type(components)(means, components.covariances)


@pytest.mark.parametrize("family", ["gaussian_full", "gaussian_tied"])
def test_an_asymmetric_covariance_is_refused(family, rng):
    components = random_mixture(family, 2, 2, rng).components
    covariances = np.array(components.covariances)
    covariances[..., 0, 1] += 0.1
    with pytest.raises(ConfigError, match="component 0: its covariance is not symmetric"):
        type(components)(components.means, covariances)
    rounded = np.array(components.covariances)
    rounded[..., 0, 1] *= 1 + 1e-15
    assert np.isfinite(type(components)(components.means, rounded).whitening).all()
