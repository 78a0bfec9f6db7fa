"""Contenders that cannot win any more end no later than the one that has won."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from streamgmm.block import Block
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.serial import Serial
from streamgmm.fit import run_fit, start_state
from streamgmm.job import reopened
from streamgmm.left_behind import is_behind, left_behind, taken_up
from streamgmm.passes import FitProblem
from streamgmm.regularisation import Regularisation
from streamgmm.schedules.auto import Auto
from streamgmm.state import BEHIND, Contender, FitState, Outcome
from streamgmm.stopping import Stopping
from tests.making import random_mixture, rows_source, same_bits


def contender(start, value, *, converged=False, left=None, k=2):
    mixture = random_mixture("gaussian_full", k, 2, np.random.default_rng(k))
    memory = {} if left is None else {"left": np.array(left)}
    return Contender(start, mixture, (value - 1.0, value), converged, 0, memory)


def test_only_what_cannot_win_is_left_behind():
    best = contender(0, -1.0, converged=True, left=1e-4)  # p = 11; to gain: left p / 2 nats, times ten
    far, near = contender(1, -1.1, left=1.0), contender(1, -1.1, left=2.0)
    assert is_behind(far, [best, far], 1000.0)  # 100 nats below, 55 to gain
    assert not is_behind(near, [best, near], 1000.0)  # 110 to gain
    assert not is_behind(far, [replace(best, converged=False), far], 1000.0)
    assert not is_behind(contender(1, -1.1), [best], 1000.0)  # nobody knows what is left
    assert not is_behind(best, [best, far], 1000.0)


def test_one_of_another_number_of_components_is_no_rival():
    best, other = contender(0, -1.0, converged=True, left=0.0), contender(1, -9.0, left=1e-3, k=3)
    assert not is_behind(other, [best, other], 1e6)


def test_it_goes_on_where_the_winner_does():
    best, far = contender(0, -1.0, converged=True, left=1e-4), contender(1, -9.0, left=0.1)
    state = FitState(left_behind([best, far], 1000.0), passes=2, weight=1000.0, outcome=Outcome.CONVERGED)
    assert [c.start for c in state.active] == []
    stricter = reopened(state, FitConfiguration(n_components=2, tol=1e-6))
    assert [c.start for c in stricter.active] == [0, 1]
    assert BEHIND not in stricter.contenders[1].memory
    same = reopened(state, FitConfiguration(n_components=2, tol=1e-3))
    assert same.outcome is Outcome.CONVERGED
    assert taken_up(state.contenders) == state.contenders


@pytest.fixture(scope="module")
def problem_and_starts():
    rng = np.random.default_rng(5)
    centres = ((0, 0), (40, 0), (0, 40))
    x = np.concatenate([rng.normal(centre, (1, 2), (3000, 2)) for centre in centres])
    x = x[rng.permutation(len(x))]
    mixture = random_mixture("gaussian_full", 3, 2, rng)
    good, bad = (
        type(mixture.components)(np.array(means, float), np.tile(np.eye(2), (3, 1, 1)))
        for means in (centres, [[0.4, 0], [-0.4, 0.1], [20, 20]])  # two for one cluster, one for two
    )
    sample = Block(0, 0, x[:6000].copy(), np.full(6000, 1.5))
    problem = FitProblem(rows_source(x, block_rows=500), Auto(), Regularisation(), Stopping(1e-6, 60), sample=sample)
    return problem, [replace(mixture, components=one) for one in (good, bad)]


def test_a_fit_ends_with_its_winner(problem_and_starts, monkeypatch):
    problem, (good, bad) = problem_and_starts
    events = []
    alone = run_fit(problem, start_state([good]), Serial())
    both = run_fit(problem, start_state([good, bad]), Serial(), on_state=events.append)
    assert both.outcome is Outcome.CONVERGED
    assert same_bits(both.mixture, alone.mixture)
    assert not both.state.contenders[1].converged
    monkeypatch.setattr(sys.modules["streamgmm.fit"], "left_behind", lambda contenders, weight: tuple(contenders))
    without = run_fit(problem, start_state([good, bad]), Serial())
    assert same_bits(without.mixture, both.mixture)
    assert both.state.passes < without.state.passes  # the guard is what ends it


def test_what_is_left_behind_stays_so_through_a_commit(problem_and_starts):
    problem, starts = problem_and_starts
    states = []
    run_fit(problem, start_state(starts), Serial(), on_state=states.append)
    for state in states:
        again = FitState.from_record(*state.to_record())
        assert [c.start for c in again.active] == [c.start for c in state.active]
