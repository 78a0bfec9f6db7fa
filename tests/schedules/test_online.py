"""Stepwise and incremental EM: their batches, where they are EM exactly, and what they promise of the likelihood."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.em import m_step
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.fit import fit_states, run_fit, start_state
from streamgmm.implied import implied_moments
from streamgmm.passes import FitProblem
from streamgmm.regularisation import Regularisation
from streamgmm.schedules._appended import Appended, past_of
from streamgmm.schedules._moments import maximised
from streamgmm.schedules.base import Look
from streamgmm.schedules.incremental import MOST_GROUPS, Incremental
from streamgmm.schedules.stepwise import Stepwise
from streamgmm.state import Outcome
from streamgmm.stopping import Stopping
from tests.making import (
    FAMILIES,
    PLAIN,
    OnceRows,
    clustered_rows,
    em_steps,
    random_mixture,
    rows_source,
    same_bits,
    statistics_of,
    wide_start,
)

pytestmark = pytest.mark.usefixtures("one_algebra_thread")
families = pytest.mark.parametrize("family", FAMILIES)


class WholeSteps(Stepwise):
    """Steps of length 1."""

    length = staticmethod(lambda t: 1.0)


def fitted(schedule, source, start, executor=None, **stopping):
    return run_fit(FitProblem(source, schedule, PLAIN, Stopping(**stopping)), start_state([start]), executor or Serial())


# ---- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Stepwise(), Incremental()], ids=lambda one: one.name)
@given(n_blocks=st.integers(1, 700), number=st.integers(0, 5), seed=st.integers(0, 2**63 - 1))
def test_the_batches_of_a_pass_hold_every_block_once(schedule, n_blocks, number, seed):
    batches = schedule.batches(n_blocks, number, seed)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n_blocks))
    again = schedule.batches(n_blocks, number, seed)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]
    assert all(len(batch) and (np.diff(batch) > 0).all() for batch in batches)


@pytest.mark.parametrize("n_blocks", [16, 100, 1000])
def test_a_stepwise_batch_takes_from_every_part_of_the_table(n_blocks):
    """Sorted by anything, its mean lies near the table's; contiguous batches of as many blocks would not."""
    batches = Stepwise().batches(n_blocks, 0, 1)
    means = np.array([batch.mean() for batch in batches]) / n_blocks
    contiguous = np.array([batch.mean() for batch in np.array_split(np.arange(n_blocks), len(batches))]) / n_blocks
    assert means.std() < contiguous.std() / 2
    assert [b.tolist() for b in batches] != [b.tolist() for b in Stepwise().batches(n_blocks, 1, 1)]


def test_incremental_groups_are_the_same_in_every_pass_and_bounded():
    groups = Incremental().batches(1000, 0, 1)
    assert len(groups) == MOST_GROUPS
    assert [group.tolist() for group in groups] == [group.tolist() for group in Incremental().batches(1000, 7, 9)]


# ---- where they are EM -----------------------------------------------------------------------------------------------


@families
def test_implied_moments_give_the_mixture_back(family, rng):
    mixture = random_mixture(family, 4, 3, rng)
    again, _ = maximised(implied_moments(mixture, 1e4), 1e4, mixture, PLAIN)
    np.testing.assert_allclose(again.components.means, mixture.components.means, rtol=1e-12)
    np.testing.assert_allclose(again.components.covariances, mixture.components.covariances, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(again.weights.proportions, mixture.weights.proportions, rtol=1e-12)


@families
def test_the_first_stepwise_and_the_quick_past_hold_no_ridge(family, rng):
    """K=1, so that EM is at its end after one step: a large reg_covar is in the mixture once, whatever length the steps have."""
    x, ridge = rng.normal(size=(1000, 2)), Regularisation(reg_covar=1.0)
    start = random_mixture(family, 1, 2, rng)
    mixture = m_step(statistics_of(start, x), start, ridge)[0]
    look = Look(mixture, statistics_of(mixture, x), ridge, steps=1, weight=1000.0)
    past = past_of(mixture, 1000.0, ridge)
    for step in (Stepwise().update(look), Appended(0).update(replace(look, memory=past))):
        np.testing.assert_allclose(step.mixture.components.covariances, mixture.components.covariances, rtol=1e-9, atol=1e-12)


@families
def test_stepwise_with_everything_in_a_batch_and_whole_steps_is_em(family, rng):
    x = clustered_rows(1500, 3, 2, rng)
    start = wide_start(family, 3, x, rng)
    found = fitted(WholeSteps(), rows_source(x, block_rows=2000), start, tol=0.0, max_iter=4)
    expected, history = em_steps(start, x, 4)
    np.testing.assert_allclose(found.log_likelihoods, history, rtol=1e-12)
    np.testing.assert_allclose(found.mixture.components.means, expected.components.means, rtol=1e-9)
    np.testing.assert_allclose(found.mixture.components.covariances, expected.components.covariances, rtol=1e-9, atol=1e-12)


@families
def test_incremental_with_one_group_is_em_to_the_bit(family, rng):
    x = clustered_rows(1500, 3, 2, rng)
    start = wide_start(family, 3, x, rng)
    found = fitted(Incremental(), rows_source(x, block_rows=2000), start, tol=0.0, max_iter=4)
    expected, history = em_steps(start, x, 4)
    assert same_bits(found.mixture, expected)
    assert found.log_likelihoods == tuple(history)


def test_the_first_incremental_pass_is_one_step_of_em(rng):
    x = clustered_rows(1500, 3, 2, rng)
    start = wide_start("gaussian_full", 3, x, rng)
    found = fitted(Incremental(), rows_source(x, block_rows=100), start, tol=0.0, max_iter=1)
    np.testing.assert_allclose(found.mixture.components.means, em_steps(start, x, 1)[0].components.means, rtol=1e-11)


# ---- free energy -----------------------------------------------------------------------------------------------------


def free_energy(memory_mixtures, mixture, groups):
    """sum over rows of sum_k r (log pi f - log r), r being those of the mixture that each group was last looked at with."""
    total = 0.0
    for seen, x in zip(memory_mixtures, groups, strict=True):
        r, joint = seen.responsibilities(x), np.maximum(mixture.log_joint(x), -1e6)
        total += float((r * (joint - np.log(np.maximum(r, 1e-300)))).sum())
    return total


def energies(schedule, x, start, passes):
    """After every step from the end of the first pass on."""
    source = rows_source(np.sort(x, axis=0), block_rows=100)
    blocks = [block.x for block in source.blocks()]
    problem = FitProblem(source, schedule, PLAIN, Stopping(0.0, passes))
    before, looked, found = start, [start] * len(blocks), []
    for number, state in enumerate(fit_states(problem, start_state([start]), Serial())):
        looked[number % len(blocks)] = before
        before = state.contenders[0].mixture
        if number + 1 >= len(blocks):
            found.append(free_energy(looked, before, blocks))
    return np.array(found)


def test_free_energy_never_falls(rng):
    x = clustered_rows(1200, 3, 2, rng)
    found = energies(Incremental(), x, wide_start("gaussian_full", 3, x, rng), 4)
    assert (np.diff(found) > -1e-9 * np.abs(found[:-1])).all()


class Forgetful(Incremental):
    """Steps by the newest group alone: what the law above would see."""

    def update(self, look):
        step = super().update(look)
        if "seen" in step.memory and step.memory["seen"].all():
            return type(step)(m_step(look.statistics, look.mixture, look.regularisation)[0], step.repairs, step.memory)
        return step


def test_without_the_other_groups_it_falls(rng):
    x = clustered_rows(1200, 3, 2, rng)
    found = energies(Forgetful(), x, wide_start("gaussian_full", 3, x, rng), 3)
    assert np.diff(found).min() < -1


# ---- streams, repairs ------------------------------------------------------------------------------------------------


def stream_of(x):
    return OnceRows(feature_names=("f0", "f1"), units=("", ""), block_rows=100, x=x, repeatable_rows=False)


@pytest.mark.parametrize("executor", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_an_iterator_is_one_pass_of_single_blocks(executor, rng):
    x = clustered_rows(6050, 3, 2, rng)
    start = em_steps(wide_start("gaussian_full", 3, x, rng), x[:500], 20)[0]
    source = stream_of(x)
    found = fitted(Stepwise(), source, start, executor, tol=0.0, max_iter=9)
    assert source.reads == list(range(61))
    assert found.outcome is Outcome.PASSES_EXHAUSTED
    assert (found.state.passes, found.state.step, found.state.rows) == (1, 0, 6050)
    before, after = (statistics_of(one, x).mean_log_likelihood for one in (start, found.mixture))
    assert after > before
    assert same_bits(found.mixture, fitted(Stepwise(), stream_of(x), start, tol=0.0).mixture)


@pytest.mark.parametrize("schedule", [Stepwise(), Incremental()], ids=lambda one: one.name)
@pytest.mark.parametrize("policy", ["drop", "reseed", "floor"])
def test_a_component_that_falls_is_repaired_and_the_fit_goes_on(schedule, policy, rng):
    """D: the far component holds no row at all; stepwise forgets what the start implied little by little."""
    x = clustered_rows(2000, 2, 2, rng)
    start = wide_start("gaussian_full", 3, x, rng)
    start.components.means[2] = 1e3
    problem = FitProblem(rows_source(x, block_rows=100), schedule, Regularisation(0.0, None, 1.0, policy), Stopping(0.0, 10))
    found = run_fit(problem, start_state([start]), Serial())
    assert found.mixture.n_components == (2 if policy == "drop" else 3)
    assert np.isfinite(found.log_likelihoods).all()


def test_a_step_rebases_before_it_blends(rng):
    """Moments about old means, blended without rebasing, are those of other rows: the merge refuses them."""
    x = clustered_rows(1000, 2, 2, rng)
    start = wide_start("gaussian_full", 2, x, rng)
    statistics = statistics_of(start, x)
    step = Stepwise().update(Look(start, statistics, PLAIN, weight=1000.0))
    with pytest.raises(ValueError, match="different references"):
        implied_moments(step.mixture).merge(statistics.components)
    again = Stepwise().update(Look(step.mixture, statistics_of(step.mixture, x), PLAIN, step.memory, weight=1000.0))
    assert statistics_of(again.mixture, x).mean_log_likelihood > statistics.mean_log_likelihood
