"""What every start must do; a new file in `initialisers/` is tested by being there."""

import warnings

import numpy as np
import pytest
import sklearn.exceptions
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from streamgmm.initialisers._sample import Sample
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.mixture import Mixture
from streamgmm.registry import implementation, names
from tests.making import FAMILIES, clustered_rows, family_of, same_bits

SEEDS = st.integers(0, 2**32 - 1)
starts = pytest.mark.parametrize("start", names("initialisers"))


def _made(start, x, k, *, family="gaussian_full", seed=0, weight=None):
    sample = Sample(x, np.ones(len(x)) if weight is None else weight, complete=True)
    return implementation("initialisers", start)().start(family_of(family), sample, k, np.random.default_rng(seed))


def _assert_usable(mixture, x, k):
    assert isinstance(mixture, Mixture)
    assert mixture.n_components == k
    assert (mixture.weights.proportions > 0).all()
    assert all(np.isfinite(value).all() for value in mixture.to_arrays().values())
    assert np.isfinite(mixture.score_samples(x)).all()


@starts
def test_it_is_a_start_with_the_name_of_its_file(start):
    found = implementation("initialisers", start)
    assert issubclass(found, AbstractInitialiser)
    assert found.name == start


@starts
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("n", "d", "k"), [(200, 2, 3), (50, 3, 1), (20, 1, 20), (8, 12, 5)])
def test_it_makes_a_mixture_of_any_family(start, family, n, d, k, rng):
    x = clustered_rows(n, 3, d, rng)
    mixture = _made(start, x, k, family=family)
    _assert_usable(mixture, x, k)
    assert type(mixture.components) is family_of(family)


@starts
def test_the_generator_decides_and_nothing_else(start, rng):
    x = clustered_rows(300, 3, 2, rng)
    assert same_bits(_made(start, x, 4, seed=1), _made(start, x, 4, seed=1))
    assert not same_bits(_made(start, x, 4, seed=1), _made(start, x, 4, seed=2))


@starts
def test_the_number_of_threads_of_the_algebra_library_changes_no_bit(start):
    x = np.random.default_rng(0).normal(size=(100_000, 12))
    made = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            made.append(_made(start, x, 3))
    assert same_bits(*made)


@starts
@given(seed=SEEDS, exponents=st.tuples(st.integers(-300, 300), st.integers(-300, 300)))
@settings(max_examples=10)
def test_units_do_not_matter(start, seed, exponents):
    """Columns scaled by powers of two: the start is scaled, and is the same to the last bits."""
    x = clustered_rows(100, 3, 2, np.random.default_rng(seed))
    scale = 2.0 ** np.array(exponents)
    plain, scaled = _made(start, x, 3, seed=seed), _made(start, x * scale, 3, seed=seed)
    np.testing.assert_allclose(scaled.weights.proportions, plain.weights.proportions, rtol=1e-12)
    np.testing.assert_allclose(scaled.components.means / scale, plain.components.means, rtol=1e-11, atol=1e-11)
    back = scaled.components.covariances / scale / scale[:, None]
    np.testing.assert_allclose(back, plain.components.covariances, rtol=1e-10, atol=1e-10)


@starts
@given(seed=SEEDS, offset=st.sampled_from([1e3, -1e6, 1e8]))
@settings(max_examples=10)
def test_an_offset_moves_the_start(start, seed, offset):
    x = np.round(clustered_rows(100, 3, 2, np.random.default_rng(seed)) * 1024) / 1024
    plain, moved = _made(start, x, 3, seed=seed), _made(start, x + offset, 3, seed=seed)
    slack = 1e3 * np.spacing(abs(offset))
    np.testing.assert_allclose(moved.components.means - offset, plain.components.means, rtol=slack, atol=slack)
    np.testing.assert_allclose(moved.components.covariances, plain.components.covariances, rtol=slack, atol=slack)


@starts
def test_the_unit_of_the_weights_does_not_matter(start, rng):
    x, weight = clustered_rows(200, 3, 2, rng), rng.uniform(0.5, 2, 200)
    plain, scaled = _made(start, x, 3, weight=weight), _made(start, x, 3, weight=weight * 2.0**70)
    for name, value in plain.to_arrays().items():
        np.testing.assert_allclose(scaled.to_arrays()[name], value, rtol=1e-10, atol=1e-12)


TABLES = {
    "identical rows": lambda x: np.full_like(x, 7.3),
    "rows of zeros": np.zeros_like,
    "two distinct rows": lambda x: np.where(x[:, :1] > 0, [[1.0, 2.0]], [[-5.0, 3.0]]),
    "a constant column": lambda x: np.column_stack([x[:, 0], np.full(len(x), 1e9 / 3)]),
    "collinear columns": lambda x: np.column_stack([x[:, 0], 3 * x[:, 0]]),
    "as many components as rows": lambda x: x[:5],
    "one row far away": lambda x: np.vstack([x, np.full((1, 2), 1e12)]),
    "tiny": lambda x: x * 1e-150,
    "huge": lambda x: x * 1e150,
}


@starts
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_a_degenerate_table_gives_a_usable_start(start, family, table, rng):
    x = table(rng.normal(size=(60, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)  # says that there are fewer distinct rows
        mixture = _made(start, x, 5, family=family)
    _assert_usable(mixture, x, 5)
