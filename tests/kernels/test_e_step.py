"""The compiled E-step against its plain NumPy twin, and the promises that go beyond it: same bits anywhere, nothing non-finite."""

import numpy as np
import pytest

from streamgmm.kernels.gaussian_full import IN_REGISTERS, UNROLLED
from streamgmm.kernels.tile import TILE
from streamgmm.mixture import Mixture
from streamgmm.weights.free import FreeWeights
from tests import twin
from tests.making import FAMILIES, dense, family_of, random_mixture

SIZES = (0, 1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE, 2 * TILE + 1)
COLUMNS = (1, 3, IN_REGISTERS, IN_REGISTERS + 1, UNROLLED + 1, 2 * UNROLLED + 2)  # each way of the kernels, with and without a rest
TOLERANCE = 1e-13


def _rows(n, d, rng):
    return rng.normal(scale=3.0, size=(n, d)) + rng.choice([-4.0, 0.0, 4.0], size=(n, 1))


def _weights(n, rng):
    """Weights of very different size, every fifth of them zero."""
    weight = rng.uniform(0.1, 10.0, size=n) ** 3
    weight[::5] = 0.0
    return weight


def _accumulate(mixture, x, weight, hard):
    return mixture.components.accumulate(x, weight, mixture.weights.log_weights, hard=hard)


def _assert_close(found, expected, magnitude):
    """Equal to TOLERANCE of the sum of absolute values: a sum that cancels has no more digits than its terms."""
    np.testing.assert_array_less(np.abs(found - expected), TOLERANCE * magnitude + 1e-300)


@pytest.mark.parametrize("d", COLUMNS)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("family", FAMILIES)
def test_accumulate_equals_its_twin(family, hard, d, rng):
    mixture = random_mixture(family, 4, d, rng)
    weights, means, covariances = dense(mixture)
    for n in SIZES if d == COLUMNS[1] else (1, TILE + 1):
        x, weight = _rows(n, d, rng), _weights(n, rng)
        likelihood, found = _accumulate(mixture, x, weight, hard)
        joint = twin.log_joint(x, weights, means, covariances)
        shares = (twin.hard(joint) if hard else twin.soft(joint)) * weight[:, None]
        n_k, first, second = twin.moments(x, shares, means)
        size = np.abs(x[:, None] - means)
        expected = twin.log_likelihood(joint, weight, assign_hard=hard)
        _assert_close(likelihood, expected, (weight * np.abs(joint).max(axis=1, initial=0)).sum())
        _assert_close(found.n, n_k, n_k.sum())
        _assert_close(found.first, first, np.einsum("nk,nkd->kd", shares, size) + n_k.sum())
        largest = np.einsum("nk,nkd,nke->kde", shares, size, size)
        _assert_close(found.second, twin.structured(family, second), twin.structured(family, largest) + n_k.sum())


@pytest.mark.parametrize("d", COLUMNS)
@pytest.mark.parametrize("family", FAMILIES)
def test_evaluate_equals_its_twin(family, d, rng):
    mixture = random_mixture(family, 4, d, rng)
    for n in SIZES if d == COLUMNS[1] else (1, TILE + 1):
        x = _rows(n, d, rng)
        joint = twin.log_joint(x, *dense(mixture))
        np.testing.assert_allclose(mixture.log_joint(x), joint, rtol=TOLERANCE, atol=TOLERANCE * 10)
        np.testing.assert_allclose(mixture.score_samples(x), twin.score(joint), rtol=TOLERANCE, atol=TOLERANCE * 10)
        np.testing.assert_allclose(mixture.responsibilities(x), twin.soft(joint), rtol=1e-10, atol=TOLERANCE)
        np.testing.assert_array_equal(mixture.predict(x), joint.argmax(axis=1))


@pytest.mark.parametrize("d", [3, UNROLLED + 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_has_the_same_bits_in_any_batch_at_any_position(family, d, rng):
    mixture = random_mixture(family, 3, d, rng)
    x = _rows(2 * TILE + 40, d, rng)
    whole = (mixture.score_samples(x), mixture.predict(x), mixture.responsibilities(x), mixture.log_joint(x))
    for start, stop in [(0, 1), (1, 2), (5, 5 + TILE), (TILE - 1, TILE + 1), (37, 2 * TILE + 38), (len(x) - 3, len(x))]:
        part = x[start:stop]
        some = (mixture.score_samples(part), mixture.predict(part), mixture.responsibilities(part), mixture.log_joint(part))
        for ours, all_rows in zip(some, whole, strict=True):
            assert ours.tobytes() == all_rows[start:stop].tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_are_the_same_bits_at_every_call(family, rng):
    mixture, x = random_mixture(family, 3, 3, rng), _rows(1000, 3, rng)
    first, second = (_accumulate(mixture, x, np.ones(1000), False) for _ in range(2))
    assert first[0] == second[0]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first[1].to_arrays().values(), second[1].to_arrays().values(), strict=True))


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_far_outlier_is_finite_and_alone(family, hard, rng):
    mixture = random_mixture(family, 3, 3, rng)
    x = np.vstack([_rows(10, 3, rng), np.full((1, 3), 1e12)])
    score = mixture.score_samples(x)
    assert np.isfinite(score).all()
    assert score[-1] < -1e22
    np.testing.assert_allclose(score, twin.score(twin.log_joint(x, *dense(mixture))), rtol=TOLERANCE)
    np.testing.assert_array_equal(np.sort(mixture.responsibilities(x)[-1]), [0, 0, 1])
    likelihood, found = _accumulate(mixture, x, np.ones(11), hard)
    assert np.isfinite(likelihood)
    assert found.is_finite()
    assert found.n.sum() == pytest.approx(11, rel=1e-15)


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_component_of_weight_zero_takes_nothing(family, hard, rng):
    components = random_mixture(family, 3, 3, rng).components
    mixture = Mixture(components, FreeWeights(np.array([0.4, 0.0, 0.6])))
    x = np.vstack([_rows(300, 3, rng), components.means[1]])
    likelihood, found = _accumulate(mixture, x, np.ones(301), hard)
    assert np.isfinite(likelihood)
    assert found.is_finite()
    assert found.n[1] == 0
    assert np.abs(found.first[1]).max() == 0
    two = mixture.select([0, 2])
    np.testing.assert_allclose(mixture.score_samples(x), two.score_samples(x), rtol=1e-14)
    np.testing.assert_array_equal(mixture.predict(x) == 1, False)
    assert mixture.responsibilities(x)[:, 1].max() == 0


@pytest.mark.parametrize("d", [3, UNROLLED + 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_whose_densities_all_underflow_has_log_density_minus_infinity(family, d, rng):
    narrow = family_of(family).from_dense(rng.normal(size=(3, d)), np.stack([1e-8 * np.eye(d)] * 3), np.full(3, 1 / 3))
    mixture = Mixture(narrow, FreeWeights(np.full(3, 1 / 3)))
    x = np.vstack([narrow.means[0], np.full((1, d), 1e153)])
    score = mixture.score_samples(x)
    assert np.isfinite(score[0])
    assert score[1] == -np.inf
    np.testing.assert_allclose(mixture.responsibilities(x).sum(axis=1), 1)
    assert 0 <= mixture.predict(x)[1] < 3
    for hard in (False, True):
        assert np.isfinite(_accumulate(mixture, x, np.array([1.0, 0.0]), hard)[0])  # of weight zero it does no harm
        assert _accumulate(mixture, x, np.ones(2), hard)[0] == -np.inf


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_weight_zero_leave_no_trace(family, rng):
    mixture, x = random_mixture(family, 3, 3, rng), _rows(2 * TILE, 3, rng)
    weight = np.ones(len(x))
    weight[7::9] = 0.0
    wild = x.copy()
    wild[7::9] = 1e100
    a, b = _accumulate(mixture, x, weight, False), _accumulate(mixture, wild, weight, False)
    assert a[0] == b[0]
    assert a[1].n.tobytes() == b[1].n.tobytes()
    np.testing.assert_array_equal(a[1].second, b[1].second)


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("exponent", [-300, -70, 70, 300])
def test_the_unit_of_the_row_weights_does_not_matter(exponent, hard, rng):
    mixture, x = random_mixture("gaussian_full", 3, 3, rng), _rows(1000, 3, rng)
    weight = rng.uniform(0.5, 2.0, size=1000)
    plain = _accumulate(mixture, x, weight, hard)
    scaled = _accumulate(mixture, x, weight * 2.0**exponent, hard)
    assert scaled[0] == plain[0] * 2.0**exponent
    for name in ("n", "first", "second"):
        np.testing.assert_array_equal(getattr(scaled[1], name), getattr(plain[1], name) * 2.0**exponent)


def test_hard_ties_go_to_the_first_component(rng):
    components = family_of("gaussian_spherical").from_dense(np.zeros((3, 2)), np.stack([np.eye(2)] * 3), np.full(3, 1 / 3))
    mixture = Mixture(components, FreeWeights(np.full(3, 1 / 3)))
    found = _accumulate(mixture, rng.normal(size=(300, 2)), np.ones(300), True)[1]
    np.testing.assert_array_equal(found.n, [300, 0, 0])


@pytest.mark.parametrize("family", FAMILIES)
def test_many_components(family, rng):
    mixture, x = random_mixture(family, 70, 2, rng, spread=20.0), rng.normal(scale=20.0, size=(700, 2))
    joint = twin.log_joint(x, *dense(mixture))
    found = _accumulate(mixture, x, np.ones(700), False)[1]
    n_k, first, _ = twin.moments(x, twin.soft(joint), mixture.components.means)
    np.testing.assert_allclose(found.n, n_k, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.first, first, rtol=1e-11, atol=1e-10)
