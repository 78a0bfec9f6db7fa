"""What exploring a sample does with its candidates: which go on, which component does not fit, where the best one ends."""

import numpy as np
import pytest

from streamgmm import exploration
from streamgmm.block import Block
from streamgmm.em import e_step, m_step
from streamgmm.exploration import explore
from streamgmm.initialisers._sample import Sample
from streamgmm.initialisers.kmeans_plus_plus import KMeansPlusPlus
from streamgmm.mixture import Mixture
from streamgmm.registry import implementation
from streamgmm.regularisation import Regularisation
from streamgmm.remaining_error import newton_step
from streamgmm.sample_em import Fitted, fit_on_sample
from streamgmm.weights.free import FreeWeights

NO_FLOORS = Regularisation(0.0)
FULL = implementation("components", "gaussian_full")


def mixture_of(means, shares=None, variance=1.0):
    means = np.asarray(means, np.float64)
    k, d = means.shape
    return Mixture(FULL(means, np.tile(variance * np.eye(d), (k, 1, 1))), FreeWeights(np.full(k, 1 / k) if shares is None else shares))


def block_of(mixture, n, seed=0):
    rng = np.random.default_rng(seed)
    return Block(0, 0, rng.permutation(mixture.sample(n, rng)[0]), np.ones(n))


TRUE = mixture_of([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0], [6.0, 6.0]])


def test_of_mixtures_on_the_way_to_one_optimum_the_best_goes_on():
    block = block_of(TRUE, 4000)
    near = fit_on_sample(TRUE, block, NO_FLOORS, steps=10)
    further = fit_on_sample(near.mixture, block, NO_FLOORS, steps=10)
    turned = Fitted(near.mixture.select([2, 0, 3, 1]), near.log_likelihoods)
    assert exploration._distinct([further, near, turned], block) == [further]


def test_a_candidate_that_will_not_come_near_stays_behind_and_a_slow_one_that_may_goes_on():
    block = block_of(TRUE, 4000)
    best = fit_on_sample(TRUE, block, NO_FLOORS, steps=10)
    other = mixture_of([[0.0, 0.0], [6.0, 0.0], [3.0, 6.0], [3.0, 6.5]])
    far = fit_on_sample(other, block, NO_FLOORS, steps=1).value
    at_rest = Fitted(other, (far - 1e-3, far - 1e-6, far))
    rising = Fitted(other, (far - 0.2, far - 0.1, far))
    assert exploration._distinct([best, at_rest], block) == [best]
    assert exploration._distinct([best, rising], block) == [best, rising]


def test_no_more_go_on_than_there_is_room_for():
    block = block_of(TRUE, 1000)
    rising = [Fitted(mixture_of(np.random.default_rng(seed).normal(3, 3, (4, 2))), (-9.0, -8.0, -7.0)) for seed in range(9)]
    assert exploration._distinct(rising, block) == rising[: exploration.FINALISTS]


def test_the_component_whose_rows_are_no_gaussian_comes_first():
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal((20, -3), 1, (500, 2)), rng.normal((20, 3), 1, (500, 2))])
    x = np.concatenate([rng.normal(0, 1, (1000, 2)), two, rng.normal((0, 20), 1, (1000, 2))])
    mixture = mixture_of([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    block = Block(0, 0, x, np.ones(len(x)))
    mixture, _ = m_step(e_step([mixture], block, block_rows=len(x))[0], mixture, NO_FLOORS)
    assert exploration._misfits(mixture, block)[0] == 1


@pytest.mark.parametrize("seed", [2, 3])
def test_newtons_steps_lead_the_best_one_to_its_optimum(seed, monkeypatch):
    """Components that overlap, and no accelerated step before."""
    monkeypatch.setattr(exploration, "LAST_STEPS", 0)
    block = block_of(mixture_of([[0.0, 0.0], [2.5, 0.0], [0.0, 2.5], [2.0, 2.0]]), 6000, seed)
    sample = Sample(block.x, block.sample_weight, complete=False)
    found = explore(sample, FULL, KMeansPlusPlus(), 4, 1, NO_FLOORS, seed)[0]
    statistics = e_step([found], block, block_rows=1 << 20)[0]
    step = newton_step(found, statistics.components, statistics.weight, block)
    further = e_step([step.mixture], block, block_rows=1 << 20)[0].log_likelihood
    assert further - statistics.log_likelihood < exploration.SETTLED * found.n_parameters / 2
