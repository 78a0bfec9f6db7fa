"""Floors and policies: what is accepted, and what lifting does to variances and covariances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.errors import ConfigError
from streamgmm.regularisation import LIFTED, POLICIES, RESOLUTION, Regularisation, all_sound, lift_dense, lift_diagonal
from tests.making import random_covariances

SEEDS = st.integers(0, 2**32 - 1)


def test_defaults_are_scikit_learns():
    regularisation = Regularisation()
    assert regularisation.reg_covar == 1e-6
    assert regularisation.variance_floor is None
    assert regularisation.occupancy_floor == 0
    assert regularisation.on_singular == "floor"


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_accepted(policy):
    assert Regularisation(on_singular=policy).on_singular == policy


@pytest.mark.parametrize("number", [0, 0.0, 1, np.float32(0.5), np.int64(2)])
def test_numbers_of_any_kind_are_accepted(number):
    assert Regularisation(reg_covar=number, variance_floor=number, occupancy_floor=number).reg_covar == number


@pytest.mark.parametrize("name", ["reg_covar", "variance_floor", "occupancy_floor"])
@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf, "1e-6", True, [1.0]])
def test_bad_numbers_are_refused_by_name(name, bad):
    with pytest.raises(ConfigError, match=f"{name} must be a finite number >= 0"):
        Regularisation(**{name: bad})


def test_an_unknown_policy_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'floor'"):
        Regularisation(on_singular="flor")


@given(seed=SEEDS, floor=st.one_of(st.none(), st.floats(1e-12, 1e-3)))
def test_what_stands_above_the_floor_comes_back_untouched(seed, floor):
    rng = np.random.default_rng(seed)
    covariance = random_covariances(1, 4, rng)[0]
    scale = np.diagonal(covariance) * rng.uniform(1, 4, 4)
    mean = rng.normal(size=4) * 1e3
    assert lift_dense(covariance, mean, scale, floor)[0] is covariance
    variances = np.diagonal(covariance)
    np.testing.assert_array_equal(lift_diagonal(variances, mean, scale, floor)[0], variances)


@given(seed=SEEDS, floor=st.floats(1e-10, 1e-2))
def test_diagonal_variances_are_lifted_to_the_floor_of_their_own_column(seed, floor):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-20, 20, 5)
    variances = scale * rng.choice([0.0, 1e-15, 0.5, 1.0], 5)
    lifted, smallest = lift_diagonal(variances, np.zeros(5), scale, floor)
    np.testing.assert_array_equal(lifted, np.maximum(variances, floor * scale))
    assert smallest == (variances / scale).min()


@given(seed=SEEDS, floor=st.floats(1e-8, 1e-2), rank=st.integers(0, 3))
def test_dense_eigenvalues_in_units_of_the_columns_are_lifted_to_the_floor(seed, floor, rank):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-12, 12, 4)
    root = np.sqrt(scale)
    a = rng.normal(size=(4, rank))
    lifted, smallest = lift_dense((a @ a.T) * root * root[:, None], np.zeros(4), scale, floor)
    values = np.linalg.eigvalsh(lifted / root / root[:, None])
    np.testing.assert_array_less(floor * (1 - 1e-5), values)
    assert smallest < floor
    np.testing.assert_array_equal(lifted, lifted.T)
    expected = np.maximum(np.linalg.eigvalsh(a @ a.T), floor)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-12)


@given(seed=SEEDS, rank=st.integers(1, 3))
def test_without_a_floor_a_singular_covariance_becomes_invertible(seed, rank):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-12, 12, 4)
    root = np.sqrt(scale)
    a = rng.normal(size=(4, rank))
    covariance = (a @ a.T) * root * root[:, None]
    lifted, _ = lift_dense(covariance, np.zeros(4), scale, None)
    assert np.isfinite(np.linalg.cholesky(lifted)).all()
    np.testing.assert_allclose(lifted, covariance, rtol=1e-9, atol=1e-9 * np.outer(root, root).max())
    np.testing.assert_allclose(np.diagonal(lifted), np.diagonal(covariance), rtol=1e-9)


@pytest.mark.parametrize("mean", [0.0, 0.1, 1e9])
def test_a_constant_column_gets_the_same_variance_dense_or_not(mean):
    """Lifted once, to LIFTED of the column's scale; the other columns keep what they have."""
    scale = np.array([2.0, 1.0])
    covariance = np.array([[2.0, 0.0], [0.0, 0.0]])
    means = np.array([0.0, mean])
    expected, _ = lift_diagonal(np.diagonal(covariance), means, scale, None)
    lifted, smallest = lift_dense(covariance, means, scale, None)
    np.testing.assert_allclose(np.diagonal(lifted), expected, rtol=1e-12)
    assert lifted[1, 1] == pytest.approx(max(LIFTED, RESOLUTION * mean**2))
    assert smallest <= 0
    assert np.isfinite(np.linalg.cholesky(lifted)).all()


def test_without_a_floor_a_variance_is_kept_down_to_the_rounding_of_its_mean():
    mean = np.array([2451545.0])
    resolution = RESOLUTION * mean**2
    kept, _ = lift_diagonal(2 * resolution, mean, np.ones(1), None)
    np.testing.assert_array_equal(kept, 2 * resolution)
    lifted, _ = lift_diagonal(resolution / 2, mean, np.ones(1), None)
    assert lifted > resolution


def test_nothing_is_lifted_to_zero_or_to_a_denormal_number():
    lifted, _ = lift_diagonal(np.zeros(2), np.zeros(2), np.full(2, 1e-305), None)
    assert (lifted >= np.finfo(np.float64).tiny).all()


@given(seed=st.integers(0, 10_000), floor=st.sampled_from([None, 1e-6, 1e-2]))
def test_what_is_sound_all_together_is_left_alone_one_by_one(seed, floor):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(5, 3, 3)) * 10.0 ** rng.uniform(-9, 2, size=(5, 1, 1))
    a[:, 2] *= 10.0 ** rng.uniform(-9, 0)
    covariances, means, scale = a @ a.transpose(0, 2, 1), rng.normal(size=(5, 3)), rng.uniform(0.5, 2, size=3)
    kept = [lift_dense(v, m, scale, floor)[0] is v for v, m in zip(covariances, means, strict=True)]
    if all_sound(covariances, means, scale, floor):
        assert all(kept)
    well = covariances + 3 * np.eye(3)
    assert all_sound(well, means, scale, floor)
    assert not all_sound(np.concatenate([well, np.zeros((1, 3, 3))]), np.zeros((6, 3)), scale, floor)
