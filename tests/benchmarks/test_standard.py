"""The standard problem and its judge: laws that both must keep, against scikit-learn where it knows better."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from benchmarks.cells import CELLS, dense_operations
from benchmarks.evaluator import exact_passes, felt_share, largest_difference, log_likelihood
from benchmarks.standard import load_parameters, rows_start, save_parameters, standard_mixture, standard_rows, true_start

N_ROWS, K, D = 3000, 4, 3


@pytest.fixture(scope="module")
def mixture():
    return standard_mixture(K, D, seed=1)


@pytest.fixture(scope="module")
def rows(mixture):
    return standard_rows(mixture, N_ROWS, seed=1)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_the_judge_agrees_with_scikit_learn(rows, mixture, covariance_type):
    start = true_start(mixture, covariance_type)
    precisions = 1 / start.covariances if covariance_type == "diag" else np.linalg.inv(start.covariances)
    twin = GaussianMixture(K, covariance_type=covariance_type, weights_init=start.weights, means_init=start.means)
    twin.set_params(precisions_init=precisions, tol=1e9, reg_covar=0.0, max_iter=2).fit(rows)
    found = exact_passes(rows, start, twin.n_iter_)
    assert largest_difference(found, start._replace(weights=twin.weights_, means=twin.means_, covariances=twin.covariances_)) < 1e-12
    np.testing.assert_allclose(log_likelihood(rows, found), twin.score_samples(rows).sum(), rtol=1e-13)


def test_likelihood_does_not_fall(rows, mixture):
    start = rows_start(rows, K, "full", seed=2)
    values = [log_likelihood(rows, exact_passes(rows, start, n)) for n in range(4)]
    assert values == sorted(values)


def test_the_diagonal_start_is_that_of_the_full_one(rows, mixture):
    assert true_start(mixture, "full") is mixture
    for start in (true_start(mixture, "diag"), rows_start(rows, K, "diag", seed=2)):
        assert start.covariances.shape == (K, D)
    np.testing.assert_array_equal(true_start(mixture, "diag").covariances[1], np.diagonal(mixture.covariances[1]))


def test_rows_follow_the_mixture(rows, mixture):
    np.testing.assert_allclose(rows.mean(axis=0), mixture.weights @ mixture.means, atol=0.2)
    np.testing.assert_array_equal(rows, standard_rows(mixture, N_ROWS, seed=1))


def test_the_felt_share_counts_what_is_not_negligible(rows, mixture):
    assert 1 / K <= felt_share(rows, mixture) <= 1
    apart = mixture._replace(means=mixture.means + 1e3 * np.arange(K)[:, None])
    assert felt_share(rows, apart) == 1 / K


def test_differences_are_in_units_of_the_mixture(mixture):
    assert largest_difference(mixture, mixture) == 0
    moved = mixture.means.copy()
    moved[2, 1] += 0.01 * np.sqrt(mixture.covariances[2, 1, 1])
    assert largest_difference(mixture._replace(means=moved), mixture) == pytest.approx(0.01)
    assert largest_difference(mixture._replace(weights=1.5 * mixture.weights), mixture) == pytest.approx(0.5)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_parameters_survive_the_file(tmp_path, mixture, covariance_type):
    start = true_start(mixture, covariance_type)
    save_parameters(tmp_path / "p.npz", start)
    for saved, given in zip(load_parameters(tmp_path / "p.npz"), start, strict=True):
        np.testing.assert_array_equal(saved, given)


def test_the_cells_are_those_of_the_benchmark():
    assert [str(cell) for cell in CELLS.values()] == [
        "A: 1,000,000 x 6, K = 16, full",
        "B: 1,000,000 x 6, K = 64, full",
        "C: 1,000,000 x 6, K = 64, diag",
        "D: 200,000 x 32, K = 64, full",
        "E: 1,000,000 x 2, K = 8, full",
    ]
    assert dense_operations(6, "full") == 160
    assert dense_operations(6, "diag") == 73


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_shrunk_cell_keeps_its_covariances_regular(cell):
    small = cell.shrunk(1e-9)
    assert small.n_rows == small.fewest_rows < cell.n_rows
    weights = standard_mixture(cell.n_components, cell.n_features, seed=0).weights
    assert small.n_rows * weights.min() > 2 * cell.n_features
    assert cell.shrunk(0.5).n_rows == cell.n_rows // 2
