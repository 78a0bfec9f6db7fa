"""Components and weights together: rows in memory, samples, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.errors import ConfigError, DataError, NonFiniteDataError
from streamgmm.mixture import Mixture
from streamgmm.weights.fixed import FixedWeights
from streamgmm.weights.free import FreeWeights
from tests import twin
from tests.making import FAMILIES, dense, random_mixture

SEEDS = st.integers(0, 2**32 - 1)
pytestmark = pytest.mark.usefixtures("one_algebra_thread")
families = pytest.mark.parametrize("family", FAMILIES)


@families
@given(seed=SEEDS)
def test_answers_for_rows_equal_the_twins(family, seed):
    rng = np.random.default_rng(seed)
    mixture, x = random_mixture(family, 3, 3, rng), rng.normal(scale=4, size=(50, 3))
    joint = twin.log_joint(x, *dense(mixture))
    np.testing.assert_allclose(mixture.score_samples(x), twin.score(joint), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(mixture.responsibilities(x), twin.soft(joint), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(mixture.log_joint(x), joint, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(mixture.predict(x), joint.argmax(axis=1))


@pytest.mark.parametrize("kind", [np.float32, np.int64, ">f8", "F", "view", "list"])
def test_rows_of_any_kind_are_taken(kind, rng):
    mixture, x = random_mixture("gaussian_full", 3, 3, rng), np.round(rng.normal(scale=4, size=(50, 3)))
    expected = mixture.score_samples(x)
    if kind == "view":
        other = np.repeat(x, 2, axis=0)[::2]
    elif kind == "list":
        other = x.tolist()
    else:
        other = np.asfortranarray(x) if kind == "F" else x.astype(kind)
    assert mixture.score_samples(other).tobytes() == expected.tobytes()


def test_rows_that_may_not_be_written_are_taken(rng):
    mixture, x = random_mixture("gaussian_full", 3, 3, rng), rng.normal(size=(50, 3))
    expected = mixture.score_samples(x)
    x.flags.writeable = False
    assert mixture.score_samples(x).tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 4), (2, 2, 3)])
def test_rows_of_the_wrong_shape_are_refused(shape, rng):
    with pytest.raises(DataError, match=r"expected rows of shape \(n, 3\), got"):
        random_mixture("gaussian_diag", 2, 3, rng).predict(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("verb", ["score_samples", "predict", "responsibilities", "log_joint"])
def test_rows_that_are_not_finite_are_refused(verb, bad, rng):
    x = rng.normal(size=(5, 3))
    x[3, 1] = bad
    with pytest.raises(NonFiniteDataError, match=r"Input X contains (NaN|infinity): 1 values in .* column 'f1', row 3"):
        getattr(random_mixture("gaussian_diag", 2, 3, rng), verb)(x)


def test_as_many_weights_as_components_are_needed(rng):
    with pytest.raises(ConfigError, match="2 weights for 3 components"):
        Mixture(random_mixture("gaussian_diag", 3, 2, rng).components, FreeWeights(np.array([0.5, 0.5])))


@families
def test_free_parameters_are_those_of_both_parts(family, rng):
    mixture = random_mixture(family, 4, 3, rng)
    assert mixture.n_parameters == mixture.components.n_parameters + 3
    assert Mixture(mixture.components, FixedWeights(mixture.weights.proportions)).n_parameters == mixture.components.n_parameters


@families
def test_samples_are_seeded_grouped_and_distributed_as_the_mixture(family, rng):
    mixture = random_mixture(family, 3, 2, rng, spread=5.0)
    x, labels = mixture.sample(60_000, np.random.default_rng(1))
    again, _ = mixture.sample(60_000, np.random.default_rng(1))
    np.testing.assert_array_equal(x, again)
    assert (np.diff(labels) >= 0).all()
    np.testing.assert_allclose(np.bincount(labels, minlength=3) / 60_000, mixture.weights.proportions, atol=0.01)
    for k in range(3):
        np.testing.assert_allclose(x[labels == k].mean(axis=0), mixture.components.means[k], atol=0.1)


def test_sample_takes_proportions_that_sum_to_one_only_roughly(rng):
    components = random_mixture("gaussian_diag", 3, 2, rng).components
    x, _ = Mixture(components, FreeWeights(np.full(3, 1 / 3 + 2e-7))).sample(10, rng)
    assert x.shape == (10, 2)


@families
@given(seed=SEEDS)
def test_select_and_split_act_on_both_parts(family, seed):
    mixture = random_mixture(family, 4, 2, np.random.default_rng(seed))
    two = mixture.select([2, 0])
    p = mixture.weights.proportions
    np.testing.assert_allclose(two.weights.proportions, p[[2, 0]] / (p[2] + p[0]))
    np.testing.assert_array_equal(two.components.means, mixture.components.means[[2, 0]])
    halves = mixture.split(1, 3)
    assert halves.weights.proportions[1] == halves.weights.proportions[3]
    assert halves.components.means[1] != pytest.approx(halves.components.means[3])


@families
def test_all_parameters_have_names(family, rng):
    arrays = random_mixture(family, 3, 2, rng).to_arrays()
    assert set(arrays) == {"weights", "means", "covariances"}
