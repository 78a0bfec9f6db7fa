"""The mock survey: the same rows always, from the mixture that it names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.column_store import ColumnStoreWriter
from streamgmm.errors import ConfigError
from streamgmm.mock_survey import BLOCK_ROWS, NO_COLOR, NO_PROPER_MOTION, mock_survey


def rows(survey):
    return np.concatenate([np.column_stack([block[name] for name in survey.units]) for block in survey.blocks()])


@settings(max_examples=8)
@given(n_rows=st.integers(1, 3 * BLOCK_ROWS), seed=st.integers(0, 2**32))
def test_a_survey_begins_with_every_shorter_one(n_rows, seed):
    longer = mock_survey(n_rows + 70_000, seed)
    index = (n_rows - 1) // BLOCK_ROWS
    shorter = mock_survey(n_rows, seed).block(index)
    for name, values in shorter.items():
        assert len(values) == n_rows - index * BLOCK_ROWS
        np.testing.assert_array_equal(values, longer.block(index)[name][: len(values)])


def test_blocks_come_in_order_and_differ():
    survey = mock_survey(2 * BLOCK_ROWS + 5, seed=3)
    blocks = list(survey.blocks())
    assert [len(block["magnitude"]) for block in blocks] == [BLOCK_ROWS, BLOCK_ROWS, 5]
    np.testing.assert_array_equal(blocks[1]["color"], survey.block(1)["color"])
    assert not np.array_equal(blocks[0]["magnitude"], blocks[1]["magnitude"])
    assert not np.array_equal(blocks[0]["magnitude"], mock_survey(BLOCK_ROWS, seed=4).block(0)["magnitude"])


def test_rows_follow_the_mixture_that_is_named():
    survey = mock_survey(300_000, seed=0)
    x = rows(survey)
    whole = x[np.isfinite(x).all(axis=1)]
    mean = survey.weights @ survey.means
    centred = survey.means - mean
    covariance = np.einsum("k,kij->ij", survey.weights, survey.covariances) + np.einsum("k,ki,kj", survey.weights, centred, centred)
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((whole.mean(axis=0) - mean) / scale, 0, atol=5 / np.sqrt(len(whole)))
    np.testing.assert_allclose((np.cov(whole.T) - covariance) / np.outer(scale, scale), 0, atol=0.02)


def test_a_compact_population_is_where_it_is_said_to_be():
    survey = mock_survey(300_000, seed=0)
    index = survey.names.index("far cluster")
    mean, covariance = survey.means[index], survey.covariances[index]
    x = rows(survey)
    x = x[np.isfinite(x).all(axis=1)]
    near = (np.abs(x[:, :2] - mean[:2]) < 3).all(axis=1)
    assert near.sum() == pytest.approx(survey.weights[index] * len(x), rel=0.1)
    np.testing.assert_allclose(x[near].mean(axis=0), mean, atol=0.15)
    np.testing.assert_allclose(np.corrcoef(x[near].T)[2, 3], covariance[2, 3] / np.sqrt(covariance[2, 2] * covariance[3, 3]), atol=0.05)


def test_the_mixture_is_one():
    survey = mock_survey(1)
    assert survey.weights.sum() == pytest.approx(1)
    assert len(survey.weights) == len(survey.means) == len(survey.covariances) == len(survey.names)
    assert np.linalg.eigvalsh(survey.covariances).min() > 0


def test_a_few_values_are_missing_proper_motions_together():
    x = rows(mock_survey(200_000))
    missing = np.isnan(x)
    np.testing.assert_array_equal(missing[:, 0], missing[:, 1])
    np.testing.assert_allclose(missing.mean(axis=0), [NO_PROPER_MOTION, NO_PROPER_MOTION, NO_COLOR, 0], atol=0.002)


def test_blocks_go_into_a_column_store(tmp_path):
    survey = mock_survey(70_000)
    with ColumnStoreWriter(tmp_path / "a.zarr", dict.fromkeys(survey.units, "f8"), units=survey.units) as store:
        for block in survey.blocks():
            store.append(block)
    assert store.n_rows == 70_000


@pytest.mark.parametrize(("n_rows", "seed"), [(-1, 0), (1.5, 0), (True, 0), (1, -1), (1, None), ("1", 0)])
def test_counts_and_seeds_are_whole_numbers(n_rows, seed):
    with pytest.raises(ConfigError, match="whole number"):
        mock_survey(n_rows, seed)
