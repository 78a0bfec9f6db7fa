"""Float32 arithmetic against the plain NumPy twin: the stated errors at any offset and in any unit, and float64 where it does not do."""

import numpy as np
import pytest

from streamgmm.em import e_step, m_step
from streamgmm.kernels.tile import TILE
from streamgmm.mixture import Mixture
from streamgmm.weights.free import FreeWeights
from tests import twin
from tests.making import FAMILIES, PLAIN, block_of, clustered_rows, dense, family_of, random_mixture, wide_start

ROW = 5e-6  # of a row's log-likelihood in up to 6 columns, and in proportion to them beyond
SHARE = 5e-6  # of counts, relative
MOMENT = 2e-5  # of moments in standard deviations, per row of the component


def _accumulate(mixture, x, weight, arithmetic="float32", *, hard=False):
    return mixture.components.accumulate(x, weight, mixture.weights.log_weights, hard=hard, arithmetic=arithmetic)


def _moved(mixture, scale, offset):
    """The mixture of x * scale + offset."""
    weights, means, covariances = dense(mixture)
    family = type(mixture.components)
    return Mixture(family.from_dense(means * scale + offset, covariances * scale[:, None] * scale, weights), mixture.weights)


def _assert_same_bits(a, b):
    assert a[0] == b[0]
    assert all(one.tobytes() == other.tobytes() for one, other in zip(a[1].to_arrays().values(), b[1].to_arrays().values(), strict=True))


def _assert_close(found, expected, deviations):
    """Moments about the same means, in units of the standard deviations (K D) of the components."""
    n = np.maximum(expected.n, 1.0)
    np.testing.assert_array_less(np.abs(found.n - expected.n) / n, SHARE)
    np.testing.assert_array_less(np.abs(found.first - expected.first) / n[:, None] / deviations, MOMENT)


@pytest.mark.parametrize(("k", "d"), [(4, 1), (4, 3), (4, 6), (64, 6), (4, 17)])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_twin_within_the_stated_error(family, k, d, rng):
    mixture = random_mixture(family, k, d, rng)
    x, _ = mixture.sample(5 * TILE + 7, rng)
    weight = rng.uniform(0.1, 3.0, len(x))
    weight[::5] = 0.0
    weights, means, covariances = dense(mixture)
    joint = twin.log_joint(x, weights, means, covariances)
    likelihood, found = _accumulate(mixture, x, weight)
    assert found.n.dtype == found.first.dtype == found.second.dtype == np.float64
    assert abs(likelihood - twin.log_likelihood(joint, weight)) < ROW * max(1, d / 6) * weight.sum()
    shares = twin.soft(joint) * weight[:, None]
    n, first, second = twin.moments(x, shares, means)
    deviations = np.sqrt(np.einsum("kii->ki", covariances))
    per_row = np.maximum(n, 1.0)[:, None]
    np.testing.assert_array_less(np.abs(found.n - n) / per_row[:, 0], SHARE)
    np.testing.assert_array_less(np.abs(found.first - first) / per_row / deviations, MOMENT)
    magnitude = np.einsum("nk,nkd,nke->kde", shares, *[np.abs(x[:, None] - means)] * 2) + per_row[:, :, None] * np.abs(covariances)
    np.testing.assert_array_less(
        np.abs(found.second - twin.structured(family, second)), MOMENT * twin.structured(family, magnitude) + 1e-300
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_alone_are_within_the_stated_error(family, rng):
    mixture = random_mixture(family, 4, 3, rng)
    x, _ = mixture.sample(40, rng)
    for row, score in zip(x, twin.score(twin.log_joint(x, *dense(mixture))), strict=True):
        assert abs(_accumulate(mixture, row[None], np.ones(1))[0] - score) < ROW


@pytest.mark.parametrize("family", FAMILIES)
def test_units_of_columns_do_not_matter(family, rng):
    """From 1e-20 to 1e15; spherical families know one unit only."""
    mixture = random_mixture(family, 5, 3, rng)
    x, _ = mixture.sample(700, rng)
    scale = np.ldexp(1.0, [-66, 0, 50])
    if "spherical" in family:
        scale[:] = scale[0]
    plain, other = _accumulate(mixture, x, np.ones(700)), _accumulate(_moved(mixture, scale, 0.0), x * scale, np.ones(700))
    assert other[0] == pytest.approx(plain[0] - 700 * np.log(scale).sum(), rel=1e-12)
    np.testing.assert_allclose(other[1].n, plain[1].n, rtol=1e-6)
    np.testing.assert_allclose(other[1].first / scale, plain[1].first, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_offsets_cost_what_they_cost_in_float64(family, rng):
    """At 1e8 the rows themselves are rounded to 1e-8; the two arithmetics agree about these rows as anywhere."""
    mixture = _moved(random_mixture(family, 5, 3, rng), np.ones(3), np.array([1e8, -1e8, 3e7]))
    x, _ = mixture.sample(2000, rng)
    (ours, found), (theirs, expected) = (_accumulate(mixture, x, np.ones(2000), a) for a in ("float32", "float64"))
    assert abs(ours - theirs) < ROW * 2000
    _assert_close(found, expected, np.sqrt(np.einsum("kii->ki", mixture.components.dense_covariances())))
    assert ours != theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_em_comes_to_the_same_optimum(family, rng):
    x = clustered_rows(6000, 3, 3, rng, spread=8.0)
    start = wide_start(family, 3, x, rng)
    ends = {}
    for arithmetic in ("float64", "float32"):
        mixture = start
        for _ in range(60):
            statistics = e_step((mixture,), block_of(x), block_rows=2048, arithmetic=arithmetic)[0]
            mixture, _ = m_step(statistics, mixture, PLAIN)
        ends[arithmetic] = dense(mixture)
    (weights, means, covariances), ours = ends["float64"], ends["float32"]
    deviations = np.sqrt(np.einsum("kii->ki", covariances))
    np.testing.assert_allclose(ours[0], weights, rtol=1e-4)
    np.testing.assert_array_less(np.abs(ours[1] - means) / deviations, 1e-4)
    np.testing.assert_array_less(np.abs(ours[2] - covariances) / deviations[:, :, None] / deviations[:, None, :], 1e-4)


@pytest.mark.parametrize("exponent", [-300, -70, 70, 300])
def test_the_unit_of_the_row_weights_does_not_matter(exponent, rng):
    mixture = random_mixture("gaussian_full", 5, 3, rng)
    x, _ = mixture.sample(1000, rng)
    weight = rng.uniform(0.5, 2.0, size=1000)
    plain, scaled = _accumulate(mixture, x, weight), _accumulate(mixture, x, weight * 2.0**exponent)
    assert scaled[0] == pytest.approx(plain[0] * 2.0**exponent, rel=1e-14)
    for name in ("n", "first", "second"):
        np.testing.assert_array_equal(getattr(scaled[1], name), getattr(plain[1], name) * 2.0**exponent)


@pytest.mark.parametrize("family", FAMILIES)
def test_hard_assignment_is_float64(family, rng):
    mixture = random_mixture(family, 3, 3, rng)
    x, _ = mixture.sample(600, rng)
    _assert_same_bits(*(_accumulate(mixture, x, np.ones(600), a, hard=True) for a in ("float32", "float64")))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_beyond_float32_are_computed_in_float64(family, rng):
    mixture = random_mixture(family, 3, 3, rng)
    x, _ = mixture.sample(600, rng)
    for far in (1e12, 1e100):
        x[7] = far
        _assert_same_bits(*(_accumulate(mixture, x, np.ones(600), a) for a in ("float32", "float64")))


@pytest.mark.parametrize("family", FAMILIES)
def test_outliers_within_reach_are_finite_and_alone(family, rng):
    mixture = random_mixture(family, 3, 3, rng)
    x = np.vstack([mixture.sample(600, rng)[0], np.full((1, 3), 1e6)])
    (ours, found), (theirs, expected) = (_accumulate(mixture, x, np.ones(601), a) for a in ("float32", "float64"))
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert found.is_finite()
    np.testing.assert_allclose(found.n, expected.n, rtol=SHARE)
    np.testing.assert_allclose(found.second, expected.second, rtol=1e-4, atol=1e-4 * np.abs(expected.second).max())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["far", "narrow beside it"])
def test_mixtures_that_float32_cannot_resolve_are_computed_in_float64(family, how, rng):
    means = rng.normal(size=(4, 3))
    means[3] = 1e5 if how == "far" else 1.0
    width = np.array([1.0, 1.0, 1.0, 1.0 if how == "far" else 1e-12])
    components = family_of(family).from_dense(means, width[:, None, None] * np.eye(3), np.full(4, 0.25))
    mixture = Mixture(components, FreeWeights(np.full(4, 0.25)))
    x, _ = mixture.sample(600, rng)
    same = [_accumulate(mixture, x, np.ones(600), a) for a in ("float32", "float64")]
    if how == "far" or family not in ("gaussian_tied", "gaussian_tied_spherical"):
        _assert_same_bits(*same)
    else:
        assert abs(same[0][0] - same[1][0]) < ROW * 600  # the shared covariance is wide


def test_a_component_of_weight_zero_takes_nothing(rng):
    mixture = Mixture(random_mixture("gaussian_full", 3, 3, rng).components, FreeWeights(np.array([0.4, 0.0, 0.6])))
    x, _ = mixture.sample(600, rng)
    likelihood, found = _accumulate(mixture, x, np.ones(600))
    assert np.isfinite(likelihood)
    assert found.is_finite()
    assert found.n[1] == np.abs(found.first[1]).max() == 0


def test_no_rows_and_rows_of_weight_zero_give_zeros(rng):
    mixture = random_mixture("gaussian_diag", 3, 3, rng)
    for x in (np.empty((0, 3)), rng.normal(size=(5, 3))):
        likelihood, found = _accumulate(mixture, x, np.zeros(len(x)))
        assert likelihood == 0
        assert found.n.max() == np.abs(found.second).max() == 0
