"""The sample that starts are made from: seeded, spread over the whole table, the same whoever reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.errors import DataError, NumericalError
from streamgmm.initialisers._sample import SAMPLE_BLOCKS, Sample, draw_sample, mixture_of_labels, nearest_seed
from tests.making import FAMILIES, OnceRows, family_of, rows_source

SEEDS = st.integers(0, 2**32 - 1)


def _numbered(n):
    """Rows whose first column is their own number."""
    return np.column_stack([np.arange(n, dtype=float), np.arange(n) % 7.0])


def test_a_small_table_is_taken_whole_and_in_order():
    x = _numbered(2500)
    sample = draw_sample(rows_source(x), 0)
    np.testing.assert_array_equal(sample.x, x)
    np.testing.assert_array_equal(sample.weight, 1)
    assert sample.complete


def test_a_small_table_in_many_blocks_is_taken_whole():
    x = _numbered(3 * SAMPLE_BLOCKS * 2)
    sample = draw_sample(rows_source(x, block_rows=3), 0)
    np.testing.assert_array_equal(sample.x, x)
    assert sample.complete


def test_a_larger_table_is_sampled_all_over():
    x = _numbered(40_000)
    sample = draw_sample(rows_source(x, block_rows=1000), 5, n_rows=2000)
    assert not sample.complete
    assert len(sample.x) == 2000
    assert len(np.unique(sample.x[:, 0])) == 2000
    np.testing.assert_array_equal(np.unique(sample.x[:, 0] // 1000, return_counts=True)[1], 50)
    np.testing.assert_allclose(sample.weight, 20)
    places = (sample.x[:, 0] % 1000).reshape(40, 50)
    assert len(np.unique(places, axis=0)) == 40  # every block draws for itself


def test_a_table_of_many_blocks_gives_rows_of_every_stretch():
    n_blocks = 4 * SAMPLE_BLOCKS
    source = rows_source(_numbered(n_blocks * 10), block_rows=10)
    sample = draw_sample(source, 5, n_rows=1024)
    assert len(source.reads) == SAMPLE_BLOCKS
    np.testing.assert_array_equal(np.unique(sample.x[:, 0] // 40, return_counts=True)[1], 4)


def test_the_seed_decides_and_nothing_else():
    x = _numbered(20_000)
    first, second = (draw_sample(rows_source(x), 3, n_rows=500) for _ in range(2))
    assert first.x.tobytes() == second.x.tobytes()
    assert draw_sample(rows_source(x), 4, n_rows=500).x.tobytes() != first.x.tobytes()


def test_rows_of_weight_zero_are_never_drawn_and_weights_stand_for_rows():
    x = _numbered(10_000)
    weight = np.where(np.arange(10_000) % 3 == 0, 0.0, 2.0)
    sample = draw_sample(rows_source(x, sample_weight=weight), 0, n_rows=600)
    assert (sample.x[:, 0] % 3 != 0).all()
    assert sample.weight.sum() == pytest.approx(weight.sum())


def test_rows_left_out_are_not_drawn():
    x = _numbered(3000)
    x[::2, 1] = np.nan
    sample = draw_sample(rows_source(x, missing="skip"), 0)
    np.testing.assert_array_equal(sample.x[:, 0], np.arange(1, 3000, 2))


def test_no_row_that_takes_part_is_refused():
    with pytest.raises(DataError, match="no row takes part"):
        draw_sample(rows_source(_numbered(10), sample_weight=np.zeros(10)), 0)


def test_an_iterator_has_no_second_look():
    source = OnceRows(feature_names=("a", "b"), units=("", ""), x=_numbered(10))
    with pytest.raises(DataError, match="no second look for a start"):
        draw_sample(source, 0)


def test_differences_whose_squares_underflow_are_refused_by_column():
    x = np.column_stack([np.arange(10.0), np.arange(10.0) * 1e-200])
    with pytest.raises(NumericalError, match=r"column 'f1' ranges from 0 to 9e-200: .*Rescale"):
        draw_sample(rows_source(x), 0)


@given(seed=SEEDS)
def test_standardised_rows_have_no_unit(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 3)) * [1e-6, 1.0, 1e9] + [180.0, 0.0, -1e10]
    z = Sample(x, rng.uniform(0.5, 2, 200), complete=True).z
    assert np.abs(z.mean(axis=0)).max() < 0.5
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=0.3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3, 1e-200])
def test_a_constant_column_does_not_decide_who_is_near(value):
    x = np.column_stack([np.arange(10.0), np.full(10, value)])
    sample = Sample(x, np.ones(10), complete=True)
    np.testing.assert_allclose(sample.z[:, 1], 0, atol=1e-6)
    assert np.isfinite(sample.z).all()


@given(seed=SEEDS)
def test_the_nearest_seed_is_the_first_of_the_nearest(seed):
    rng = np.random.default_rng(seed)
    z, seeds = rng.integers(-3, 4, (50, 2)).astype(float), rng.integers(-3, 4, (6, 2)).astype(float)
    np.testing.assert_array_equal(nearest_seed(z, seeds), ((z[:, None] - seeds) ** 2).sum(axis=2).argmin(axis=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_become_components(family, rng):
    x = np.vstack([rng.normal(size=(3000, 2)), 20 + 2 * rng.normal(size=(1000, 2))])
    mixture = mixture_of_labels(family_of(family), Sample(x, np.ones(4000), complete=True), np.repeat([0, 1], [3000, 1000]), 2)
    np.testing.assert_allclose(mixture.weights.proportions, [0.75, 0.25])
    np.testing.assert_allclose(mixture.components.means, [x[:3000].mean(axis=0), x[3000:].mean(axis=0)], rtol=1e-9, atol=1e-9)
    variances = np.einsum("kii->ki", mixture.components.dense_covariances())
    np.testing.assert_allclose(variances, [[1, 1], [4, 4]] if not mixture.components.structure.shared else np.full((2, 2), 1.75), rtol=0.1)


def test_empty_groups_are_as_wide_as_the_table_and_begin_at_rows_of_their_own(rng):
    x = rng.normal(size=(100, 2)) * [1.0, 1e6]
    mixture = mixture_of_labels(family_of("gaussian_full"), Sample(x, np.ones(100), complete=True), np.zeros(100, int), 3)
    nearest = [np.abs(x - mean).sum(axis=1).argmin() for mean in mixture.components.means[1:]]
    np.testing.assert_allclose(mixture.components.means[1:], x[nearest])
    assert len(set(nearest)) == 2
    np.testing.assert_allclose(np.diagonal(mixture.components.covariances[1]), x.var(axis=0))
    assert mixture.weights.proportions[1] == pytest.approx(1 / 102)


def test_a_group_of_one_row_is_no_needle(rng):
    x = rng.normal(size=(100, 2))
    labels = (np.arange(100) == 0).astype(int)
    mixture = mixture_of_labels(family_of("gaussian_full"), Sample(x, np.ones(100), complete=True), labels, 2)
    assert np.linalg.eigvalsh(mixture.components.covariances[1])[0] > 0
    assert np.isfinite(mixture.score_samples(x)).all()
