"""The laws of additive statistics: for moments of every structure, and for what a mixture takes from rows."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.components._gaussian import GaussianMoments
from streamgmm.em import MixtureStatistics
from streamgmm.statistics import Statistics, counted, nested, reference, summed
from tests.making import FAMILIES, as_arrays_equal, family_of, random_mixture, statistics_of

SEEDS = st.integers(0, 2**32 - 1)
families = pytest.mark.parametrize("family", FAMILIES)


@dataclass(frozen=True, eq=False)
class Inner(Statistics):
    """A centre and a sum about it."""

    centre: np.ndarray = reference()
    total: np.ndarray = summed()


@dataclass(frozen=True, eq=False)
class Outer(Statistics):
    """One field of every law."""

    rows: int = counted()
    weight: float = summed()
    inner: Inner = nested()


def _outer(rng):
    """Integers in float64: sums of them are exact, hence so are the laws."""
    total = rng.integers(-100, 100, 3).astype(float)
    return Outer(int(rng.integers(100)), float(rng.integers(100)), Inner(np.array([1.0, 2.0]), total))


def _mixture_statistics(family, seed, n=40):
    rng = np.random.default_rng(seed)
    mixture = random_mixture(family, 3, 2, np.random.default_rng(7))
    return statistics_of(mixture, rng.normal(size=(n, 2)) * 3, rng.uniform(0, 2, n)), mixture


def _assert_close(a, b):
    left, right = a.to_arrays(), b.to_arrays()
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], rtol=1e-12, atol=1e-11, err_msg=name)


@given(seed=SEEDS)
def test_merge_is_associative_and_commutative(seed):
    rng = np.random.default_rng(seed)
    a, b, c = _outer(rng), _outer(rng), _outer(rng)
    assert as_arrays_equal(a.merge(b), b.merge(a))
    assert as_arrays_equal(a.merge(b).merge(c), a.merge(b.merge(c)))


@families
@given(seed=SEEDS)
def test_merge_of_moments_is_associative_and_commutative_to_rounding(family, seed):
    a, b, c = (_mixture_statistics(family, [seed, i])[0] for i in range(3))
    assert as_arrays_equal(a.merge(b), b.merge(a))
    _assert_close(a.merge(b).merge(c), a.merge(b.merge(c)))


@families
@given(seed=SEEDS, cut=st.integers(0, 40))
def test_the_statistics_of_two_parts_merge_to_those_of_the_whole(family, seed, cut):
    rng = np.random.default_rng(seed)
    mixture = random_mixture(family, 3, 2, rng)
    x, weight = rng.normal(size=(40, 2)) * 3, rng.uniform(0, 2, 40)
    parts = [statistics_of(mixture, x[rows], weight[rows]) for rows in (slice(0, cut), slice(cut, None))]
    _assert_close(parts[0].merge(parts[1]), statistics_of(mixture, x, weight))


@families
def test_the_statistics_of_no_rows_are_neutral(family):
    some, mixture = _mixture_statistics(family, 1)
    zero = statistics_of(mixture, np.empty((0, 2)))
    assert as_arrays_equal(some.merge(zero), some)
    assert as_arrays_equal(zero.merge(some), some)


@families
def test_different_references_refuse_to_merge(family):
    some, mixture = _mixture_statistics(family, 1)
    other = random_mixture(family, 3, 2, np.random.default_rng(8))
    with pytest.raises(ValueError, match="different references do not merge; rebase"):
        some.merge(statistics_of(other, np.zeros((1, 2))))
    assert some.merge(statistics_of(mixture, np.zeros((1, 2)))).rows == 41


def test_different_kinds_refuse_to_merge():
    inner = Inner(np.zeros(2), np.zeros(2))
    with pytest.raises(TypeError, match="cannot merge Inner with Outer"):
        inner.merge(Outer(0, 0.0, inner))


@families
@given(seed=SEEDS, factor=st.floats(1e-3, 1e3))
def test_scale_is_linear_in_sums_and_leaves_rows_and_references(family, seed, factor):
    some, _ = _mixture_statistics(family, seed)
    scaled = some.scale(factor)
    assert scaled.rows == some.rows
    assert scaled.weight == some.weight * factor
    np.testing.assert_array_equal(scaled.components.centre, some.components.centre)
    np.testing.assert_array_equal(scaled.components.n, some.components.n * factor)
    _assert_close(
        some.scale(factor).merge(some.scale(2 * factor)),
        MixtureStatistics(2 * some.rows, 0, 3 * factor * some.weight, 3 * factor * some.log_likelihood, some.components.scale(3 * factor)),
    )


@families
@given(seed=SEEDS, exponent=st.sampled_from([0, 10, 26]))
def test_rebase_there_and_back_is_exact(family, seed, exponent):
    """On numbers of few bits nothing is rounded, so the same bits must come back; the offset may be large."""
    rng = np.random.default_rng(seed)
    structure = family_of(family).structure
    k, d = 3, 4
    centre = rng.integers(-64, 64, (k, d)) / 16
    moments = GaussianMoments(
        centre,
        rng.integers(0, 64, k).astype(float),
        rng.integers(-64, 64, (k, d)) / 8,
        rng.integers(-64, 64, structure.second_shape(k, d)) / 8,
    )
    elsewhere = centre + rng.integers(-64, 64, (k, d)) / 16 * 2.0**exponent / 2.0 ** (exponent // 2)
    back = moments.rebase(elsewhere, structure).rebase(centre, structure)
    assert as_arrays_equal(back, moments)


@families
@given(seed=SEEDS)
def test_rebase_gives_the_moments_about_the_other_centre(family, seed):
    rng = np.random.default_rng(seed)
    mixture = random_mixture(family, 3, 2, rng)
    structure = mixture.components.structure
    x = rng.normal(size=(50, 2)) * 3
    moments = statistics_of(mixture, x).components
    elsewhere = rng.normal(size=(3, 2)) * 5
    shares = mixture.responsibilities(x)
    difference = x[:, None, :] - elsewhere
    second = np.einsum("nk,nkd,nke->kde", shares, difference, difference)
    per_component = second[:, *np.tril_indices(2)] if structure.dense else np.diagonal(second, axis1=1, axis2=2)
    moved = moments.rebase(elsewhere, structure)
    np.testing.assert_array_equal(moved.centre, elsewhere)
    np.testing.assert_array_equal(moved.n, moments.n)
    np.testing.assert_allclose(moved.first, np.einsum("nk,nkd->kd", shares, difference), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(moved.second, structure.reduce(per_component), rtol=1e-10, atol=1e-10)


@families
def test_rebased_statistics_merge_with_those_of_the_new_centre(family):
    a, _ = _mixture_statistics(family, 1)
    structure = family_of(family).structure
    elsewhere = GaussianMoments(a.components.centre + 1.5, np.zeros(3), np.zeros((3, 2)), np.zeros(structure.second_shape(3, 2)))
    merged = elsewhere.merge(a.components.rebase(elsewhere.centre, structure))
    np.testing.assert_array_equal(merged.n, a.components.n)


@given(seed=SEEDS)
def test_arrays_there_and_back(seed):
    some = _outer(np.random.default_rng(seed))
    back = Outer.from_arrays(some.to_arrays())
    assert as_arrays_equal(back, some)
    assert type(back.rows) is int
    assert type(back.weight) is float
    assert type(back.inner) is Inner


@families
def test_the_statistics_of_a_mixture_go_to_arrays_and_back(family):
    some, _ = _mixture_statistics(family, 3)
    arrays = some.to_arrays("spans.7.")
    assert all(name.startswith("spans.7.") for name in arrays)
    back = MixtureStatistics.from_arrays(arrays, "spans.7.", components=type(some.components))
    assert as_arrays_equal(back, some)
    assert as_arrays_equal(back.merge(some), some.merge(some))


def test_an_abstract_nested_field_is_not_lost_in_silence():
    some, _ = _mixture_statistics("gaussian_full", 3)
    with pytest.raises(TypeError, match="components"):
        MixtureStatistics.from_arrays(some.to_arrays())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_is_finite_looks_everywhere(bad):
    inner = Inner(np.zeros(2), np.array([0.0, 1.0]))
    assert Outer(1, 1.0, inner).is_finite()
    assert not Outer(1, bad, inner).is_finite()
    assert not Outer(1, 1.0, Inner(np.zeros(2), np.array([0.0, bad]))).is_finite()
