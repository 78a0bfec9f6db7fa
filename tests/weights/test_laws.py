"""What is particular to each law of the mixing proportions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamgmm.weights.fixed import FixedWeights
from streamgmm.weights.free import FreeWeights

COUNTS = arrays(np.float64, st.integers(1, 8), elements=st.floats(1e-3, 1e6))


@given(counts=COUNTS)
def test_free_weights_are_the_shares_of_the_counts(counts):
    found = FreeWeights(np.full(counts.size, 1 / counts.size)).maximise(counts)
    np.testing.assert_allclose(found.proportions, counts / counts.sum(), rtol=1e-15)
    assert found.n_parameters == counts.size - 1


@given(counts=COUNTS)
def test_free_weights_are_the_most_likely(counts):
    """sum n log pi is smaller for any other proportions (Gibbs)."""
    found = FreeWeights(np.full(counts.size, 1 / counts.size)).maximise(counts)
    for seed in range(5):
        other = np.random.default_rng(seed).dirichlet(np.ones(counts.size))
        assert counts @ np.log(other + 1e-300) <= counts @ found.log_weights + 1e-9 * counts.sum()


@given(counts=COUNTS)
def test_fixed_weights_stay(counts):
    given_weights = FixedWeights(np.full(counts.size, 1 / counts.size))
    assert given_weights.maximise(counts) is given_weights
    assert given_weights.n_parameters == 0


def test_fixed_weights_stay_when_a_component_is_seeded_anew():
    fixed = FixedWeights(np.array([0.5, 0.3, 0.2]))
    assert fixed.split(0, 2) is fixed


def test_free_weights_are_halved_when_a_component_is_seeded_anew():
    np.testing.assert_allclose(FreeWeights(np.array([0.6, 0.4, 0.0])).split(0, 2).proportions, [0.3, 0.4, 0.3])
    np.testing.assert_allclose(FreeWeights(np.array([0.5, 0.3, 0.2])).split(0, 2).proportions, np.array([0.25, 0.3, 0.25]) / 0.8)
