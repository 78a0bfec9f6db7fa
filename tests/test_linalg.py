"""Small dense linear algebra against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from streamgmm.errors import SingularComponentError
from streamgmm.linalg import cholesky, eigh, from_eigen, invert_lower, log_det_lower, pack, packed_size, unpack_lower, unpack_symmetric
from tests.making import random_covariances


@given(k=st.integers(1, 5), d=st.integers(1, 7), seed=st.integers(0, 2**32 - 1))
def test_packing_keeps_the_lower_triangle(k, d, seed):
    matrices = np.random.default_rng(seed).normal(size=(k, d, d))
    packed = pack(matrices)
    assert packed.shape == (k, packed_size(d))
    np.testing.assert_array_equal(unpack_lower(packed, d), np.tril(matrices))
    np.testing.assert_array_equal(pack(unpack_symmetric(packed, d)), packed)
    symmetric = matrices + matrices.transpose(0, 2, 1)
    np.testing.assert_array_equal(unpack_symmetric(pack(symmetric), d), symmetric)


def test_packed_entries_stand_where_the_kernels_look_for_them():
    d = 4
    matrix = np.arange(16.0).reshape(d, d)
    packed = pack(matrix)
    for j in range(d):
        for i in range(j + 1):
            assert packed[j * (j + 1) // 2 + i] == matrix[j, i]


@given(k=st.integers(1, 4), d=st.integers(1, 7), seed=st.integers(0, 2**32 - 1))
def test_factors_inverses_and_determinants(k, d, seed):
    covariances = random_covariances(k, d, np.random.default_rng(seed))
    factors = cholesky(covariances)
    np.testing.assert_allclose(factors @ factors.transpose(0, 2, 1), covariances, rtol=1e-12, atol=1e-12)
    inverses = invert_lower(factors)
    np.testing.assert_array_equal(inverses, np.tril(inverses))
    np.testing.assert_allclose(inverses @ factors, np.broadcast_to(np.eye(d), (k, d, d)), atol=1e-12)
    np.testing.assert_allclose(2 * log_det_lower(factors), np.linalg.slogdet(covariances)[1], rtol=1e-11, atol=1e-11)


@given(d=st.integers(1, 7), seed=st.integers(0, 2**32 - 1))
def test_eigenvalues_rise_and_compose_the_matrix_again(d, seed):
    matrix = random_covariances(1, d, np.random.default_rng(seed))[0]
    values, vectors = eigh(matrix)
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(from_eigen(values, vectors), matrix, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [6, 64, 65, 130, 200])
def test_the_number_of_threads_of_the_algebra_library_changes_no_bit(d, rng):
    covariances, found = random_covariances(2, d, rng), []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            factors = cholesky(covariances)
            values, vectors = eigh(covariances[0])
            found.append((factors, invert_lower(factors), values, vectors, from_eigen(values, vectors)))
    for one, two in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_factors_at_the_ends_of_double_precision(scale, rng):
    covariances = random_covariances(2, 3, rng)
    scaled = invert_lower(cholesky(covariances * scale))
    np.testing.assert_allclose(scaled * np.sqrt(scale), invert_lower(cholesky(covariances)), rtol=1e-12)


@pytest.mark.parametrize("bad", [np.diag([1.0, 0.0]), np.diag([1.0, -1.0]), np.full((2, 2), np.nan), np.ones((2, 2)) + np.diag([0, -1e-3])])
def test_the_failing_component_is_named(bad):
    with pytest.raises(SingularComponentError, match=r"component 2: .*not positive definite.*reg_covar or variance_floor"):
        cholesky(np.stack([np.eye(2), np.eye(2), bad, bad]))
