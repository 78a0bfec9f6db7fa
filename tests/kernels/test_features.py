"""Moments summed together about a common centre: the same numbers as one by one, and only where that costs few digits."""

import numpy as np
import pytest

from streamgmm.components._grouping import NEAR, grouping_of
from streamgmm.kernels.features import GROUP, MOST, feature_count
from streamgmm.kernels.tile import TILE
from streamgmm.mixture import Mixture
from streamgmm.weights.free import FreeWeights
from tests import twin
from tests.making import FAMILIES, dense, family_of, random_mixture


def _crowd(family, k, d, rng):
    """Broad components close to each other: every row feels all of them."""
    wide = np.stack([4 * np.eye(d)] * k)
    return Mixture(family_of(family).from_dense(rng.normal(size=(k, d)), wide, np.full(k, 1 / k)), FreeWeights(np.full(k, 1 / k)))


def _accumulate(mixture, x, weight=None):
    weight = np.ones(len(x)) if weight is None else weight
    return mixture.components.accumulate(x, weight, mixture.weights.log_weights, hard=False)


def _one_by_one(mixture):
    """The same mixture with no component near enough to be summed with others."""
    alone = Mixture(type(mixture.components)(mixture.components.means, mixture.components.covariances), mixture.weights)
    alone.components.__dict__["_grouping"] = mixture.components._grouping._replace(n_groups=0)
    return alone


@pytest.mark.parametrize("k", [GROUP, GROUP + 1, 3 * GROUP])
@pytest.mark.parametrize("d", [1, 2, 3, 7])
@pytest.mark.parametrize("family", FAMILIES)
def test_together_or_one_by_one_gives_the_same_moments(family, d, k, rng):
    mixture = _crowd(family, k, d, rng)
    assert mixture.components._grouping.n_groups == k // GROUP
    x, weight = rng.normal(scale=2.0, size=(3 * TILE + 5, d)), rng.uniform(0, 2, size=3 * TILE + 5)
    likelihood, together = _accumulate(mixture, x, weight)
    alone_likelihood, alone = _accumulate(_one_by_one(mixture), x, weight)
    assert likelihood == alone_likelihood
    size = alone.n.sum() * 25
    for name in ("n", "first", "second"):
        np.testing.assert_allclose(getattr(together, name), getattr(alone, name), rtol=0, atol=1e-14 * size)
    assert together.first.tobytes() != alone.first.tobytes()  # else the way through features was not taken


@pytest.mark.parametrize("family", ["gaussian_full", "gaussian_diag", "gaussian_spherical"])
def test_components_far_from_the_centre_keep_their_digits(family, rng):
    """Narrow components 1e6 of their deviations away stand among near ones, in no order: each gets its own moments, to full precision."""
    k, d = 11, 2
    far = np.isin(np.arange(k), [1, 4, 9])
    means = np.where(far[:, None], 1e3 * rng.normal(size=(k, d)), rng.normal(size=(k, d)))
    covariances = np.where(far[:, None, None], 1e-6, 4.0) * np.eye(d)
    mixture = Mixture(family_of(family).from_dense(means, covariances, np.full(k, 1 / k)), FreeWeights(np.full(k, 1 / k)))
    by = mixture.components._grouping
    assert by.n_groups == 2
    assert set(by.order[-3:]) == {1, 4, 9}
    x = np.concatenate([rng.normal(m, np.sqrt(v[0, 0]), size=(200, d)) for m, v in zip(means, covariances, strict=True)])
    found = _accumulate(mixture, x)[1]
    n, first, second = twin.moments(x, twin.soft(twin.log_joint(x, *dense(mixture))), means)
    sd = np.sqrt(covariances[:, 0, 0])
    np.testing.assert_allclose(found.n, n, rtol=1e-12, atol=1e-14)
    assert (
        np.abs(found.first - first) <= 1e-12 * (sd * n)[:, None] + 1e-13 * np.abs(means) * n[:, None]
    ).all()  # a column of 1e3 has digits down to 1e-13
    expected = np.stack([twin.structured(family, one[None])[0] for one in second])
    assert (np.abs(found.second - expected) <= 1e-9 * (sd**2 * n)[:, None]).all()


def test_near_is_measured_in_the_components_own_deviations():
    means = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    inverse_sd = np.array([1.0, 1.0, 0.99 * np.sqrt(NEAR), np.sqrt(NEAR)])
    whitening = inverse_sd[:, None, None] * np.eye(2)
    by = grouping_of(means, whitening, dense=True)
    np.testing.assert_array_equal(by.order, [0, 1, 2, 3])
    assert by.n_groups == 0  # three are near
    assert grouping_of(means[[0, 1, 2, 2]], whitening[[0, 1, 2, 2]], dense=True).order is None


def test_many_columns_are_never_summed_as_features(rng):
    d = next(d for d in range(1, 100) if feature_count(d, dense=True) > MOST)
    assert _crowd("gaussian_full", 8, d - 1, rng).components._grouping.n_groups == 2
    assert _crowd("gaussian_full", 8, d, rng).components._grouping.n_groups == 0


def test_a_row_whose_square_is_near_to_overflow_spoils_no_other_component(rng):
    mixture = _crowd("gaussian_full", 8, 2, rng)
    x = rng.normal(size=(TILE, 2))
    x[100] = 1e153
    weight = np.full(TILE, 1e3)
    found = _accumulate(mixture, x, weight)[1]
    assert np.isfinite(found.n).all()
    assert np.isfinite(found.first).all()
    assert not np.isnan(found.second).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_sparse_tiles_are_summed_one_by_one(family, rng):
    """Rows of one cluster after the other: most components take no part in most strips, and are left out there."""
    mixture = random_mixture(family, 8, 3, rng, spread=30.0)
    x = np.concatenate([rng.normal(m, 1.0, size=(150, 3)) for m in mixture.components.means])
    found = _accumulate(mixture, x)[1]
    joint = twin.log_joint(x, *dense(mixture))
    n, first, second = twin.moments(x, twin.soft(joint), mixture.components.means)
    np.testing.assert_allclose(found.n, n, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(found.first, first, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.second, twin.structured(family, second), rtol=1e-9, atol=1e-9)
