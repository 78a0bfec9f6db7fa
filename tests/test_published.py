"""Published answers: mclust, mixtools and Spark, from many starts, without any ridge and with a very small tolerance."""

import numpy as np
import pytest
import sklearn.datasets

from streamgmm.fit import sample_for_starts, starts_from_sample
from streamgmm.registry import implementation
from tests.making import em_steps, family_of, fit_rows, rows_source, wide_start

# Listed in Spark's GaussianMixtureSuite.
SPARK_UNIVARIATE = """
-5.1971 -2.5359 -3.8220 -5.2211 -5.0602 4.7118 6.8989 3.4592 4.6322 5.7048 4.6567 5.5026 4.5605 5.2043 6.2734
"""


def _best(family, x, k, *, n_init=12, init="random_rows", weight=None):
    """The best of several starts after 80 passes, brought to its end; components in rising order of the first column."""
    source = rows_source(x, sample_weight=weight)
    initialiser, sample = implementation("initialisers", init)(), sample_for_starts(source, 1)
    starts = starts_from_sample(initialiser, family_of(family), sample, k, n_init, np.random.default_rng(1))
    promising = fit_rows(source, starts, tol=1e-12, max_iter=80)
    result = fit_rows(source, [promising.mixture], tol=1e-12, max_iter=3000)
    assert result.converged
    mixture = result.mixture.select(np.argsort(result.mixture.components.means[:, 0]))
    return mixture, mixture.score_samples(np.asarray(x, dtype=float)).sum()


def _bic(log_likelihood, mixture, n):
    """In mclust's sign."""
    return 2 * log_likelihood - mixture.n_parameters * np.log(n)


# ---- Spark -----------------------------------------------------------------------------------------------------------


def _univariate():
    return np.array(SPARK_UNIVARIATE.split(), dtype=float)[:, None]


def test_spark_univariate():
    mixture, log_likelihood = _best("gaussian_full", _univariate(), 2, init="kmeans", n_init=1)
    np.testing.assert_allclose(mixture.weights.proportions, [1 / 3, 2 / 3], atol=1e-5)
    np.testing.assert_allclose(mixture.components.means[:, 0], [-4.3673, 5.1604], atol=1e-3)
    np.testing.assert_allclose(mixture.components.covariances[:, 0, 0], [1.1098, 0.86644], atol=1e-3)
    assert log_likelihood == pytest.approx(-30.37547828, abs=1e-7)


@pytest.mark.parametrize("weight", [1.0, 10.0, 100.0])
def test_spark_row_weights_of_1_10_and_100_do_not_change_the_fit(weight):
    x = _univariate()
    plain, _ = _best("gaussian_full", x, 2, init="kmeans", n_init=1)
    weighted, _ = _best("gaussian_full", x, 2, init="kmeans", n_init=1, weight=np.full(15, weight))
    for name, value in plain.to_arrays().items():
        np.testing.assert_allclose(weighted.to_arrays()[name], value, rtol=1e-5)


def test_spark_one_component_is_the_mean_and_the_covariance(rng):
    x = np.array([[6.0, 9.0], [5.0, 10.0], [4.0, 11.0]])
    start = wide_start("gaussian_full", 1, x + 0.1 * rng.normal(size=x.shape), rng)
    mixture, _ = em_steps(start, x, 2)
    np.testing.assert_allclose(mixture.components.means, [[5, 10]], rtol=1e-14)
    np.testing.assert_allclose(mixture.components.covariances, [[[2 / 3, -2 / 3], [-2 / 3, 2 / 3]]], rtol=1e-11)
    np.testing.assert_array_equal(mixture.weights.proportions, [1.0])


# ---- iris, from scikit-learn (R's own numbers since 0.20) ------------------------------------------------------------


def test_iris_two_free_covariances():
    mixture, log_likelihood = _best("gaussian_full", sklearn.datasets.load_iris().data, 2)
    assert log_likelihood == pytest.approx(-214.3547, abs=5e-5)
    assert mixture.n_parameters == 29
    assert _bic(log_likelihood, mixture, 150) == pytest.approx(-574.0178, abs=1e-4)


def test_iris_three_components_of_one_covariance():
    mixture, log_likelihood = _best("gaussian_tied", sklearn.datasets.load_iris().data, 3, init="kmeans")
    assert log_likelihood == pytest.approx(-256.3540, abs=5e-5)
    assert mixture.n_parameters == 24
    assert _bic(log_likelihood, mixture, 150) == pytest.approx(-632.9633, abs=1e-4)


# ---- Old Faithful, where the data are at hand ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faithful(shared_data):
    path = shared_data / "classic-small" / "faithful.csv"
    if not path.is_file():
        pytest.skip("no faithful.csv in ../shared/data/classic-small: real data are not part of the repository")
    return np.loadtxt(path, delimiter=",", skiprows=1, usecols=(1, 2))


def test_faithful_two_free_covariances(faithful):
    mixture, log_likelihood = _best("gaussian_full", faithful, 2)
    assert log_likelihood == pytest.approx(-1130.2640, abs=5e-5)
    assert _bic(log_likelihood, mixture, 272) == pytest.approx(-2322.1917, abs=1e-4)
    assert mixture.weights.proportions[0] == pytest.approx(0.355873, abs=2e-6)
    np.testing.assert_allclose(mixture.components.means, [[2.036388, 54.478516], [4.289662, 79.968114]], atol=2e-6)
    expected = [[[0.069168, 0.435168], [0.435168, 33.697285]], [[0.169969, 0.940609], [0.940609, 36.046223]]]
    np.testing.assert_allclose(mixture.components.covariances, expected, rtol=2e-5)


def test_faithful_three_components_of_one_covariance(faithful):
    mixture, log_likelihood = _best("gaussian_tied", faithful, 3, n_init=20)
    assert log_likelihood == pytest.approx(-1126.3159, abs=5e-5)
    assert mixture.n_parameters == 11
    assert _bic(log_likelihood, mixture, 272) == pytest.approx(-2314.2957, abs=1e-4)
    order = np.argsort(-mixture.weights.proportions)
    np.testing.assert_allclose(mixture.weights.proportions[order], [0.47501, 0.35638, 0.16861], atol=1e-5)
    np.testing.assert_allclose(mixture.components.means[order], [[4.4657, 80.8728], [2.0376, 54.4913], [3.7978, 77.4689]], atol=1e-4)


def test_faithful_two_components_of_one_covariance(faithful):
    mixture, log_likelihood = _best("gaussian_tied", faithful, 2)
    assert log_likelihood == pytest.approx(-1140.1868, abs=5e-5)
    assert _bic(log_likelihood, mixture, 272) == pytest.approx(-2325.2199, abs=1e-4)


@pytest.mark.parametrize("family", ["gaussian_full", "gaussian_diag", "gaussian_spherical"])
def test_waiting_times_alone(faithful, family):
    mixture, log_likelihood = _best(family, faithful[:, 1:], 2, n_init=4)
    assert log_likelihood == pytest.approx(-1034.0017, abs=2e-4)
    assert mixture.weights.proportions[0] == pytest.approx(0.3608868, abs=2e-5)
    np.testing.assert_allclose(mixture.components.means[:, 0], [54.61489, 80.09109], atol=5e-4)
    np.testing.assert_allclose(np.sqrt(np.ravel(mixture.components.covariances)), [5.871, 5.868], atol=1e-3)
