"""What every family of densities must do; a new file in `components/` is tested by being there.

A family that is no Gaussian adds an example to `_example`; everything else is the contract of the abstract class.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.components.base import AbstractComponents
from streamgmm.registry import implementation, names
from streamgmm.regularisation import POLICIES, Regularisation
from tests.making import PLAIN, random_mixture

SEEDS = st.integers(0, 2**32 - 1)
families = pytest.mark.parametrize("family", names("components"))
D, K = 3, 4


def _example(family, seed, k=K, d=D):
    """Components, log weights and rows (n d) that they could have produced."""
    rng = np.random.default_rng(seed)
    assert issubclass(implementation("components", family), AbstractGaussian), f"give this suite an example of {family!r}"
    mixture = random_mixture(family, k, d, rng)
    x, _ = mixture.sample(300, rng)
    return mixture.components, mixture.weights.log_weights, rng.permutation(x)


def _statistics(components, log_weights, x, weight=None, *, hard=False):
    return components.accumulate(x, np.ones(len(x)) if weight is None else weight, log_weights, hard=hard)


@families
def test_it_is_a_family_with_the_name_of_its_file(family):
    found = implementation("components", family)
    assert issubclass(found, AbstractComponents)
    assert found.name == family
    components, _, x = _example(family, 0)
    assert (components.n_components, components.n_features) == (K, x.shape[1])
    assert components.n_parameters >= 1


@families
@given(seed=SEEDS)
def test_the_score_is_the_sum_over_components(family, seed):
    components, log_weights, x = _example(family, seed)
    score, label, joint = components.evaluate(x, log_weights, "log_joint")
    np.testing.assert_allclose(score, logsumexp(joint, axis=1), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(label, joint.argmax(axis=1))
    again, _, shares = components.evaluate(x, log_weights, "responsibilities")
    np.testing.assert_array_equal(again, score)
    np.testing.assert_allclose(shares, np.exp(joint - score[:, None]), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-14)
    assert components.evaluate(x, log_weights)[2] is None
    assert label.dtype == np.int32


@families
def test_densities_integrate_to_one(family):
    """Importance sampling from a wide normal distribution."""
    components, log_weights, _ = _example(family, 1)
    rng = np.random.default_rng(2)
    wide = 5.0
    x = rng.normal(scale=wide, size=(200_000, D))
    proposal = -0.5 * (x**2).sum(axis=1) / wide**2 - D * np.log(wide * np.sqrt(2 * np.pi))
    assert np.exp(components.evaluate(x, log_weights)[0] - proposal).mean() == pytest.approx(1, abs=0.05)


@families
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@given(seed=SEEDS)
def test_counts_and_likelihood_are_those_of_the_rows(family, hard, seed):
    components, log_weights, x = _example(family, seed)
    weight = np.random.default_rng(seed).uniform(0, 3, len(x))
    likelihood, statistics = _statistics(components, log_weights, x, weight, hard=hard)
    counts = components.counts(statistics)
    assert counts.shape == (K,)
    assert (counts >= 0).all()
    assert counts.sum() == pytest.approx(weight.sum(), rel=1e-13)
    score, label, joint = components.evaluate(x, log_weights, "log_joint")
    if hard:
        np.testing.assert_allclose(counts, np.bincount(label, weight, K), rtol=1e-12)
        score = joint.max(axis=1)
    assert likelihood == pytest.approx(weight @ score, rel=1e-12)


@families
@given(seed=SEEDS, cut=st.integers(0, 300))
def test_statistics_of_parts_merge_to_those_of_the_whole(family, seed, cut):
    components, log_weights, x = _example(family, seed)
    likelihood, whole = _statistics(components, log_weights, x)
    parts = [_statistics(components, log_weights, rows) for rows in (x[:cut], x[cut:])]
    merged = parts[0][1].merge(parts[1][1])
    assert likelihood == pytest.approx(parts[0][0] + parts[1][0], rel=1e-12)
    for name, value in whole.to_arrays().items():
        np.testing.assert_allclose(merged.to_arrays()[name], value, rtol=1e-11, atol=1e-10, err_msg=name)
    restored = type(whole).from_arrays(merged.to_arrays())
    assert all(restored.to_arrays()[name].tobytes() == value.tobytes() for name, value in merged.to_arrays().items())


@families
@given(seed=SEEDS)
def test_maximise_raises_the_likelihood_and_keeps_the_kind(family, seed):
    components, log_weights, x = _example(family, seed)
    before, statistics = _statistics(components, log_weights, x)
    after, faults = components.maximise(statistics, PLAIN)
    assert type(after) is type(components)
    assert faults == ()
    assert _statistics(after, log_weights, x)[0] >= before - 1e-9 * abs(before)
    assert all(np.isfinite(value).all() for value in after.to_arrays().values())


@families
def test_maximise_does_not_touch_its_arguments(family):
    components, log_weights, x = _example(family, 3)
    _, statistics = _statistics(components, log_weights, x)
    held = [(value, value.copy()) for value in (*components.to_arrays().values(), *statistics.to_arrays().values())]
    components.maximise(statistics, Regularisation(1e-3, 1e-2, 20.0))
    components.split(0, 1)
    components.select([1])
    components.extent()
    for value, copy in held:
        np.testing.assert_array_equal(value, copy)


@families
@pytest.mark.parametrize("policy", POLICIES)
def test_maximise_names_an_empty_component_whatever_the_policy(family, policy):
    components, log_weights, x = _example(family, 4)
    log_weights = np.where(np.arange(K) == 2, -np.inf, log_weights)
    _, statistics = _statistics(components, log_weights, x, hard=True)
    after, faults = components.maximise(statistics, Regularisation(0.0, None, 0.0, policy))
    assert [(fault.kind, fault.component) for fault in faults] == [("occupancy", 2)]
    assert after.n_components == K


@families
@given(seed=SEEDS, kept=st.lists(st.integers(0, K - 1), min_size=1, max_size=K, unique=True))
def test_select_keeps_densities_in_the_order_asked_for(family, seed, kept):
    components, log_weights, x = _example(family, seed)
    joint = components.evaluate(x, log_weights, "log_joint")[2]
    selected = components.select(kept)
    assert type(selected) is type(components)
    found = selected.evaluate(x, log_weights[kept], "log_joint")[2]
    np.testing.assert_array_equal(found, joint[:, kept])


@families
@given(seed=SEEDS)
def test_split_replaces_the_receiver_by_half_of_the_donor(family, seed):
    components, log_weights, x = _example(family, seed)
    halves = components.split(1, 2)
    assert type(halves) is type(components)
    assert halves.n_components == K
    before = components.evaluate(x, log_weights, "log_joint")[2]
    after = halves.evaluate(x, log_weights, "log_joint")[2]
    np.testing.assert_array_equal(after[:, [0, 3]], before[:, [0, 3]])
    assert np.abs(after[:, 1] - after[:, 2]).max() > 0
    assert np.isfinite(after).all()


@families
def test_extent_is_one_positive_number_a_component(family):
    extent = _example(family, 5)[0].extent()
    assert extent.shape == (K,)
    assert (extent > 0).all()


@families
def test_samples_come_from_their_component(family):
    components, _, _ = _example(family, 6)
    labels = np.repeat(np.arange(K), 2000)
    x = components.sample(labels, np.random.default_rng(0))
    assert x.shape == (len(labels), D)
    again = components.sample(labels, np.random.default_rng(0))
    np.testing.assert_array_equal(x, again)
    for k in range(K):
        own = [components.evaluate(x[labels == j], np.where(np.arange(K) == k, 0.0, -np.inf))[0].mean() for j in range(K)]
        assert int(np.argmax(own)) == k


@families
@given(seed=SEEDS)
def test_parameters_go_to_arrays_and_back_with_the_same_bits(family, seed):
    components, log_weights, x = _example(family, seed)
    arrays = components.to_arrays()
    back = type(components).from_arrays(arrays)
    assert all(back.to_arrays()[name].tobytes() == value.tobytes() for name, value in arrays.items())
    assert back.evaluate(x, log_weights)[0].tobytes() == components.evaluate(x, log_weights)[0].tobytes()


@families
def test_bad_parameters_are_refused(family):
    arrays = _example(family, 7)[0].to_arrays()
    for name, value in arrays.items():
        for bad in (np.full_like(value, np.nan), value.reshape(-1)[:0]):
            with pytest.raises((ValueError, ArithmeticError)):
                implementation("components", family).from_arrays({**arrays, name: bad})


@families
@pytest.mark.parametrize("order", ["C", "F"])
def test_no_rows_give_nothing(family, order):
    components, log_weights, _ = _example(family, 8)
    x = np.empty((0, D), order=order)
    likelihood, statistics = _statistics(components, log_weights, x)
    assert likelihood == 0
    assert components.counts(statistics).sum() == 0
    score, label, matrix = components.evaluate(x, log_weights, "responsibilities")
    assert (score.shape, label.shape, matrix.shape) == ((0,), (0,), (0, K))
