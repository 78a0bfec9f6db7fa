"""Where columns lie and what their unit is must not matter: the table on which most packages that accumulate sums fail.

Two clusters of unit variance, 8 apart, plus a constant of up to 1e8: sky positions in milliarcseconds, Julian dates, Unix times.
"""

import numpy as np
import pytest

from streamgmm.fit import sample_for_starts, starts_from_sample
from streamgmm.registry import implementation
from tests.making import FAMILIES, clustered_rows, family_of, fit_rows, rows_source, same_bits

families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(3)
    return rng.permutation(np.vstack([rng.normal(size=(20_000, 2)), 8 + rng.normal(size=(20_000, 2))]))


def _fitted(family, x):
    """The whole way: a start from a sample, and passes over blocks to convergence, without any ridge."""
    source = rows_source(x, block_rows=4096)
    kmeans, sample = implementation("initialisers", "kmeans")(), sample_for_starts(source, 0)
    start = starts_from_sample(kmeans, family_of(family), sample, 2, 1, np.random.default_rng(0))
    result = fit_rows(source, start, tol=1e-9)
    assert result.converged
    order = np.argsort(result.mixture.components.means[:, 0])
    return result.mixture.select(order), result


def _variances(mixture):
    return np.einsum("kii->ki", mixture.components.dense_covariances())


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e7, 1e8])
@families
def test_the_translation_table_is_right_in_every_column(family, offset, clusters):
    x = clusters + offset
    mixture, result = _fitted(family, x)
    np.testing.assert_allclose(mixture.weights.proportions, 0.5, atol=0.001)
    np.testing.assert_allclose(mixture.components.means - offset, [[0, 0], [8, 8]], atol=0.03)
    assert (np.abs(_variances(mixture) - 1) <= 0.03).all()
    plain, plain_result = _fitted(family, x - offset)  # what float64 has left of the same rows
    slack = 10 * np.spacing(offset) + 1e-11
    np.testing.assert_allclose(mixture.components.means - offset, plain.components.means, atol=slack)
    np.testing.assert_allclose(mixture.components.covariances, plain.components.covariances, atol=slack)
    np.testing.assert_allclose(mixture.weights.proportions, plain.weights.proportions, atol=slack)
    np.testing.assert_allclose(result.log_likelihoods[-1], plain_result.log_likelihoods[-1], atol=slack)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@families
def test_the_ends_of_double_precision(family, scale, clusters):
    mixture, result = _fitted(family, clusters * scale)
    plain, plain_result = _fitted(family, clusters)
    np.testing.assert_allclose(mixture.components.means / scale, plain.components.means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(_variances(mixture) / scale / scale, _variances(plain), rtol=1e-9)
    np.testing.assert_allclose(mixture.weights.proportions, plain.weights.proportions, rtol=1e-9)
    assert result.log_likelihoods[-1] + 2 * np.log(scale) == pytest.approx(plain_result.log_likelihoods[-1], rel=1e-10)
    assert (np.abs(_variances(mixture) / scale / scale - 1) <= 0.03).all()


@pytest.mark.parametrize("family", [family for family in FAMILIES if not family_of(family).structure.isotropic])
def test_columns_on_scales_from_1e_minus_6_to_1e9_at_once(family, rng):
    x = clustered_rows(4000, 2, 3, rng, spread=6.0)
    scale, offset = np.array([1e-6, 1.0, 1e9]), np.array([180.0, 2451545.0, -3e12])
    mixture, _ = _fitted(family, x * scale + offset)
    plain, _ = _fitted(family, ((x * scale + offset) - offset) / scale)
    order = np.argsort(plain.components.means[:, 0])
    np.testing.assert_allclose((mixture.components.means - offset) / scale, plain.components.means[order], atol=1e-6)
    np.testing.assert_allclose(_variances(mixture) / scale**2, _variances(plain)[order], rtol=1e-6)


@families
def test_sorted_rows_give_the_answer_of_shuffled_rows(family, clusters):
    """A store ordered by position or time: every block sees one cluster only."""
    ordered, _ = _fitted(family, clusters[np.argsort(clusters[:, 0])])
    shuffled, _ = _fitted(family, clusters)
    assert not same_bits(ordered, shuffled)
    for name, value in shuffled.to_arrays().items():
        np.testing.assert_allclose(ordered.to_arrays()[name], value, rtol=1e-6, atol=1e-6)
