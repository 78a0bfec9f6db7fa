"""What every law of the mixing proportions must do; a new file in `weights/` is tested by being there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.errors import ConfigError
from streamgmm.registry import implementation, names
from streamgmm.weights.base import AbstractWeights

SEEDS = st.integers(0, 2**32 - 1)
laws = pytest.mark.parametrize("law", [implementation("weights", name) for name in names("weights")], ids=names("weights"))


def _proportions(seed, k):
    return np.random.default_rng(seed).dirichlet(np.full(k, 2.0))


@laws
def test_it_is_a_law_with_the_name_of_its_file(law):
    assert issubclass(law, AbstractWeights)
    assert law.__module__ == f"streamgmm.weights.{law.name}"


@laws
@given(seed=SEEDS, k=st.integers(1, 6))
def test_maximise_gives_proportions_of_the_same_law(law, seed, k):
    start = law(_proportions(seed, k))
    found = start.maximise(np.random.default_rng(seed).uniform(0.1, 1e9, k))
    assert type(found) is law
    assert found.proportions.shape == (k,)
    assert (found.proportions >= 0).all()
    assert found.proportions.sum() == pytest.approx(1, abs=1e-12)


@laws
@given(seed=SEEDS, k=st.integers(1, 6), factor=st.sampled_from([2.0**-60, 0.5, 2.0**60]))
def test_the_unit_of_the_counts_does_not_matter(law, seed, k, factor):
    start, counts = law(_proportions(seed, k)), np.random.default_rng(seed).uniform(0.1, 10, k)
    assert start.maximise(counts).proportions.tobytes() == start.maximise(counts * factor).proportions.tobytes()


@laws
def test_an_empty_component_has_log_weight_minus_infinity(law):
    found = law(np.array([0.25, 0.0, 0.75]))
    assert found.log_weights[1] == -np.inf
    np.testing.assert_allclose(np.exp(found.log_weights), found.proportions)


@laws
@given(seed=SEEDS)
def test_select_keeps_order_and_ratios(law, seed):
    start = law(_proportions(seed, 5))
    found = start.select([3, 0, 4])
    assert type(found) is law
    assert found.proportions.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.proportions[0] / found.proportions[1], start.proportions[3] / start.proportions[0], rtol=1e-12)


@laws
def test_split_gives_proportions(law):
    found = law(np.array([0.7, 0.3, 0.0])).split(0, 2)
    assert type(found) is law
    assert found.proportions.sum() == pytest.approx(1, abs=1e-12)
    assert (found.proportions >= 0).all()


@laws
def test_free_parameters_are_no_more_than_the_proportions_allow(law):
    assert 0 <= law(np.full(4, 0.25)).n_parameters <= 3


@laws
@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1.0], [np.inf, 0.0], [[0.5, 0.5]], [0.5, 0.4], []], ids=str)
def test_what_are_no_proportions_is_refused(law, bad):
    with pytest.raises(ConfigError, match="weights must be finite, >= 0 and sum to 1"):
        law(np.array(bad, dtype=float))
